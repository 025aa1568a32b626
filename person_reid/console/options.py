"""Read the options of a script from its defaults, a file and the command line.

    config = parse(TrainConfig, argv, __doc__)

Only the standard library and PyYAML are imported, so --help and error messages appear within a
tenth of a second.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from person_reid.config.files import check_plugins, options_in
from person_reid.config.network import run_name
from person_reid.config.option import DeclaredOption, Options, resolve, text_options
from person_reid.config.run import OF_RESNET50
from person_reid.console.parser import Parser, example_lines, settings_of, shown_first
from person_reid.errors import UserError
from person_reid.files import real, shipped
from person_reid.registration import OWN_CLASS, check_loaded, load_installed, load_plugin
from person_reid.run_folder import RunFolder, check_run_name, read_yaml

RECIPE = "recipe"  # the figures that a recipe should reach; see recipes/README.md
FOLLOWING = {"backbone_lr": 0.1, "prototype_lr": 1.0}  # as fractions of lr, unless given
LAST_GROUPS = ("extensions", "look")  # in the help
COMMON = "common options (--help all shows every option)"
Config = TypeVar("Config", bound=Options)


def parse(kind: type[Config], argv: Sequence[str] | None = None, text: str | None = "") -> Config:
    """Return the configuration that a command line requests.

    kind: the configuration, a dataclass of options. argv: the command line without the script's
        name.
    text: the docstring of the script, for --help.

    Flags override the file of --config, which overrides the defaults. --resume replaces the
    defaults with the options of a run that has begun, and rejects what would change the result. The
    plugins that the flags name are loaded first, since they extend what the flags accept. Raises
    UserError for options that cannot work.
    """
    load_plugins(argv)
    config = parse_words(kind, argv, text)
    if plugins := getattr(config, "plugin", None):
        check_loaded(plugins.split(","), "The command line")  # which may have shortened --plugin
    return config


def parse_words(
    kind: type[Config], argv: Sequence[str] | None = None, text: str | None = ""
) -> Config:
    """Return a configuration, as `parse` does, given words that may come from a file.

    No plugin that they name is loaded.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    everything = words[:1] in (["--help"], ["-h"]) and words[1:2] == ["all"]
    flags = _values(build(kind, text, everything).parse_args(words))
    if flags.get("loss") == "list":
        from person_reid.losses import table_of_losses  # needs torch

        print(table_of_losses())
        sys.exit()
    file = flags.get("config")
    asked = {**(_read_file(kind, file) if file else {}), **flags}
    chosen, named = asked, kind.declared().get("name")
    if named and named.default:
        of_network = named.default == OF_RESNET50
        name = str(asked.get("name") or (run_name(asked) if of_network else named.default))
        check_run_name(name)
        begun = asked.get("resume") and RunFolder(name).options_file.exists()
        chosen = _as_begun(kind, name, asked) if begun else asked
        chosen = {**chosen, "name": name}
    config = resolve(kind, chosen, flags.keys() & chosen.keys())
    if file and not asked.get("resume"):
        _keep_file(file, config)
    return config


def load_plugins(argv: Sequence[str] | None = None) -> None:
    """Load the plugins of installed packages, and the plugins that a command line names."""
    load_installed()
    for name in plugins_named(sys.argv[1:] if argv is None else argv):
        load_plugin(name)


def plugins_named(words: Sequence[str]) -> list[str]:
    """Return the plugins that a command line names, by --plugin or as --backbone MODULE:CLASS."""
    found = map(OWN_CLASS.fullmatch, _values_of("--backbone", words))
    texts = [*_values_of("--plugin", words), *(match["plugin"] for match in found if match)]
    return [name for text in texts for name in map(str.strip, text.split(",")) if name]


def _values_of(flag: str, words: Sequence[str]) -> list[str]:
    """Return the values of a flag among words that no parser has read yet."""
    pairs = zip(words, [*words[1:], ""], strict=False)
    values = (
        following if word == flag else word.removeprefix(f"{flag}=")
        for word, following in pairs
        if word == flag or word.startswith(f"{flag}=")
    )
    return [value for value in values if not value.startswith("--")]


def _values(found: argparse.Namespace) -> dict[str, Any]:
    """Return {name: value} for the options that a parser has found and checked."""
    return {name: tuple(it) if isinstance(it, list) else it for name, it in vars(found).items()}


def parse_known(
    kind: type[Config], argv: Sequence[str] | None = None, text: str | None = ""
) -> tuple[Config, list[str]]:
    """Return a configuration, and the words on the command line that belong to another script.

    Flags are not abbreviated, since the other script may have longer flags.
    """
    load_plugins(argv)
    parser = build(kind, text)
    parser.allow_abbrev = False
    given, further = parser.parse_known_args(argv)
    return resolve(kind, _values(given)), further


def parse_command(
    kinds: Mapping[str, type[Options]], argv: Sequence[str] | None = None, text: str | None = ""
) -> tuple[str, Any]:
    """Return the command that a command line begins with, and its configuration.

    kinds: {command: its configuration, whose docstring says what it does}.
    text: the docstring of the script, whose examples of a command are shown in its help.
    """
    load_plugins(argv)
    parser = Parser(text)
    commands = parser.add_subparsers(
        required=True,
        dest="command",
        title="commands, each with its own --help",
        metavar="|".join(kinds),
    )
    for name, kind in kinds.items():
        command = commands.add_parser(
            name,
            help=kind.__doc__,
            text=kind.__doc__,
            examples=example_lines(text, name),
            argument_default=argparse.SUPPRESS,
        )
        declare(kind, command, everything=True)
    given = _values(parser.parse_args(argv))
    name = given.pop("command")
    return name, resolve(kinds[name], given)


def _keep_file(path: str, config: Any) -> None:
    """Raise UserError if a run's opts.yaml would replace the file that --config names."""
    run = RunFolder(config.name)
    # A run with weights is set aside.
    if not run.holds_weights() and real(path) == real(run.options_file):
        raise UserError(
            f"config={path}: the run {config.name} would write its own options to that file. "
            "Move it elsewhere, or choose another name."
        )


def build(kind: type[Options], text: str | None = "", everything: bool = False) -> Parser:
    """Return a configuration's parser, which returns only the options that were given.

    everything: whether the help shows all options, and not only the common ones.
    """
    parser = Parser(text, argument_default=argparse.SUPPRESS)
    declare(kind, parser, everything)
    return parser


def declare(kind: type[Options], parser: Parser, everything: bool = False) -> None:
    """Add the options of a configuration to a parser; see build."""
    declared = kind.declared()
    everything = everything or not any(each.about.common for each in declared.values())
    parser.first_meant = frozenset(
        f"--{name}" for name, each in declared.items() if each.about.published
    )
    groups: dict[str, Any] = {}
    for each in sorted(declared.values(), key=_help_order):
        title = each.group if everything or not shown_first(each) else COMMON
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        flags = () if each.about.positional else each.about.flags or (f"--{each.name}",)
        groups[title].add_argument(*flags, **settings_of(each, everything))


def _help_order(option: DeclaredOption) -> tuple[bool, bool, bool, bool]:
    """Return a key that sorts options for the help: what a command needs first, extras last."""
    about = option.about
    return not about.positional, not about.required, not about.common, option.group in LAST_GROUPS


def _read_file(kind: type[Options], path: str) -> dict[str, Any]:
    """Return the options in --config FILE.

    Learning rates that followed the lr of a run's opts.yaml also follow a new lr.
    """
    path = str(shipped(path))
    content = read_yaml(path, text_options(kind))
    content.pop(RECIPE, None)
    values = options_in(content, kind, path)
    if "nclasses" in content:
        followed = {
            name: share * values["lr"] for name, share in FOLLOWING.items() if "lr" in values
        }
        return {name: value for name, value in values.items() if value != followed.get(name)}
    return values


def _as_begun(kind: type[Options], name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the run that --resume continues, with the requested changes.

    Raises UserError if the command line, or its file, changes an option that the result depends on.
    """
    known, file = kind.declared(), RunFolder(name).options_file
    content = read_yaml(file, text_options(kind))
    check_plugins(content, file)
    before = options_in(content, kind, file, strict=False)
    was = {name: before.get(name, each.default) for name, each in known.items()}
    processes = _processes(asked.get("gpu_ids", was["gpu_ids"]))
    if asked.get("batchsize") == was.get("batchsize", 0) * processes:
        # The flag counts the images of all GPUs, and opts.yaml those of one.
        asked = {name: value for name, value in asked.items() if name != "batchsize"}
    now = resolve(kind, asked, given=())
    changed = [
        name for name in asked if known[name].about.effect and getattr(now, name) != was[name]
    ]
    if changed:
        listing = ", ".join(f"{name} {was[name]} → {getattr(now, name)}" for name in changed)
        raise UserError(
            f"resume continues the run as {file} describes it, but this command changes it: "
            f"{listing}. Leave that out, or start a new run under another name."
        )
    return {**before, **asked}


def without_rank(argv: Sequence[str] | None) -> list[str]:
    """Return a command line without the rank that torch.distributed.launch adds.

    The environment also holds the rank.
    """
    launcher = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    launcher.add_argument("--local-rank", "--local_rank")
    return launcher.parse_known_args(argv)[1]


def launched() -> bool:
    """Return whether torchrun started this process."""
    return "LOCAL_RANK" in os.environ


def _processes(gpu_ids: str) -> int:
    """Return how many processes a script starts: one for each GPU, or one under torchrun."""
    return 1 if launched() else len(gpu_ids.split(","))


def share_batch(config: Any, argv: Sequence[str] | None) -> list[str]:
    """Return the command line of one of the processes that share the batch of a run.

    config: the run that they share. argv: its command line. Raises UserError if the batch cannot be
    shared equally.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    count = _processes(config.gpu_ids)
    share, rest = divmod(config.batchsize, count)
    if config.resume and RunFolder(config.name).options_file.exists():
        share, rest = config.batchsize, 0  # opts.yaml holds the share
    if rest:
        raise UserError(
            f"batchsize={config.batchsize} does not divide evenly among the {count} GPUs "
            "of gpu_ids."
        )
    return [*words, "--batchsize", str(share)]
