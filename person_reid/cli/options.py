"""The options of a run: defaults, a `--config` file, flags, and the file that a run leaves (model/NAME/opts.yaml).

The flags themselves are declared in person_reid/cli/flags.py.
"""

import argparse
import sys
from pathlib import Path

import torch
import yaml

from person_reid import losses
from person_reid.basics import UserError, atomic_write, did_you_mean
from person_reid.cli.flags import MILESTONES, NETWORK_FLAGS, training_parser
from person_reid.reproduce import recipe
from person_reid.training.schedule import milestones

PUBLISHED_CLASSES = 751  # Market-1501's; old opts.yaml files do not say
# What an opts.yaml, the published code's too, holds beside flags: it can be the --config of another run.
BESIDE_FLAGS = {"nclasses", "local_rank", "world_size", "workers", "prefetch_factor"}
# Flags of published networks that ignore --stride; the opts.yaml of a run says what was typed all the same.
WITHOUT_STRIDE = ("use_swin", "use_swinv2", "use_dino", "use_hr", "use_convnext", "use_efficient", "use_NAS")
# Flags that the trained network does not depend on.
WITHOUT_EFFECT = {
    "name", "resume", "gpu_ids", "data_dir", "tensorboard", "wandb", "mlflow", "dry_run", "config", "keep", "profile",
    "eval_every",
}  # fmt: skip


def parse_train(argv=None, text=""):
    """The resolved options of train.py: defaults, then the `--config` file and the KEY=VALUE behind it, then flags.

    With `--resume` the run's own opts.yaml stands in for defaults and file; flags and KEY=VALUE that contradict it are
    refused.
    text: the docstring of the script, for its help.
    """
    parser = training_parser(text)
    first = parser.parse_args(argv)
    if first.loss == "list":
        print(losses.table())
        sys.exit()
    own = options_file(first.name)
    file, *pairs = first.config or [None]
    replaced = _checked(parser, _pairs(pairs), "--config FILE KEY=VALUE", strict=True)
    if first.resume and own.exists():
        parser.set_defaults(**_checked(parser, read_yaml(own), own, strict=False))
        before = parser.parse_args([])
        parser.set_defaults(**replaced)
        _refuse_changes(before, parser.parse_args(argv), own)
    elif file:
        parser.set_defaults(**_checked(parser, read_yaml(file), file, strict=True))
        parser.set_defaults(**replaced)
    options = parser.parse_args(argv)
    if first.config:
        options.config = " ".join(first.config)
    return resolve(options)


def _pairs(words):
    """{name: value} of words such as `lr=0.02` and `cosine=true`. Raises UserError for any other word."""
    if wrong := [word for word in words if not word.partition("=")[2]]:
        raise UserError(f"--config FILE KEY=VALUE: {wrong[0]!r}: expected an option and its value, such as lr=0.02")
    values = {"true": True, "false": False, "null": None}
    return {name: values.get(text, text) for name, _, text in (word.partition("=") for word in words)}


def precision(options):
    """The dtype of autocast that --fp16 and --bf16 ask for; None is float32. Raises UserError for both at once."""
    if options.fp16 and options.bf16:
        raise UserError("--fp16 and --bf16 exclude each other: choose one.")
    return torch.float16 if options.fp16 else torch.bfloat16 if options.bf16 else None


def training_split(options):
    """The folder of --data_dir to train on."""
    return "train_all" if options.train_all else "train"


def training_roots(options):
    """The data sets to train on, laid out by prepare.py: --data_dir, then those of --train_with."""
    further = (name.strip() for name in (options.train_with or "").split(","))
    return [Path(options.data_dir), *(Path(name) for name in further if name)]


def load_run_options(name, given=None):
    """The resolved options of the run model/NAME, keys that an older file lacks at their defaults, and its `nclasses`.

    given: {flag: value} of flags that describe its network, for what an older file does not say. Raises UserError for
    those that the file contradicts, and where there is no such run; it lists those there are.
    """
    path = options_file(name)
    if not path.exists():
        runs = sorted(file.parent.name for file in path.parent.parent.glob("*/opts.yaml"))
        there = f"There are: {', '.join(runs)}." if runs else f"Train one: python train.py --name {name}"
        raise UserError(f"{path}: no run of that name.{did_you_mean(name, runs)} {there}")
    parser = training_parser()
    content = read_yaml(path)
    options, said = parser.parse_args([]), _checked(parser, content, path, strict=False)
    named = any(said.get(flag) for flag in ("backbone", *NETWORK_FLAGS))
    given = given or {}
    vars(options).update((flag, value) for flag, value in given.items() if not (named and flag in NETWORK_FLAGS))
    vars(options).update(said, name=name)
    options.nclasses = int(content.get("nclasses", PUBLISHED_CLASSES))
    resolve(options)
    _refuse_contradictions(given, said, options.backbone, path)
    return options


def _refuse_contradictions(given, said, backbone, path):
    """Raise UserError for given flags against what the file of a run says, and against its resolved backbone."""
    for flag, value in given.items():
        name, asked = ("backbone", NETWORK_FLAGS[flag]) if flag in NETWORK_FLAGS else (flag, value)
        found = backbone if name == "backbone" else said.get(flag, value)
        if found != asked:
            words = f"--{flag}" if value is True else f"--{flag} {value}"
            raise UserError(
                f"{words} contradicts {path} ({name}: {found}): a run is tested as it was trained. Leave the flag out, "
                "or name the run you mean with --name."
            )


def save_options(options, path):
    """Write options as YAML, atomically; read again by load_run_options and by the published code."""
    with atomic_write(path) as temporary:
        temporary.write_text(dump_options(options))


def dump_options(options):
    """The options as YAML text."""
    return yaml.safe_dump(vars(options))


def options_file(name):
    """model/NAME/opts.yaml."""
    return Path("model") / name / "opts.yaml"


def resolve(options):
    """Fill in what depends on other flags (network, image size, learning rates), and refuse what cannot work.

    Raises UserError for two networks, precisions or schedules at once, and for flags that the network would ignore.
    """
    from person_reid.models.factory import check_network, input_size
    from person_reid.models.registry import find_backbone

    precision(options)
    losses.names_in(options)
    options.backbone = _chosen_backbone(options)
    check_network(options, training_parser().get_default)
    height, width = input_size(options.backbone, options.PCB)
    options.height = options.height or height
    options.width = options.width or width
    if options.drop_path is None:
        options.drop_path = find_backbone(options.backbone).drop_path
    options.backbone_lr = options.backbone_lr or 0.1 * options.lr
    options.prototype_lr = options.prototype_lr or options.lr
    options.schedule = _chosen_schedule(options)
    options.wa = options.wa or options.DG  # the average is the teacher
    return options


def _chosen_backbone(options):
    """The one network that --backbone or a published flag names; resnet50 where none does."""
    chosen = {f"--{flag}": name for flag, name in NETWORK_FLAGS.items() if getattr(options, flag)}
    if options.backbone:
        chosen[f"--backbone {options.backbone}"] = options.backbone
    if len(set(chosen.values())) > 1:
        raise UserError(f"Two networks at once: {' and '.join(chosen)}. Choose one.")
    return next(iter(chosen.values()), "resnet50")


def _chosen_schedule(options):
    """The one schedule that --schedule or --cosine names; step where neither does."""
    if options.cosine and options.schedule not in (None, "cosine"):
        raise UserError(f"--cosine and --schedule {options.schedule} exclude each other: choose one.")
    schedule = "cosine" if options.cosine else options.schedule or "step"
    if milestones(options.milestones) != milestones(MILESTONES) and schedule != "multistep":
        raise UserError(f"--milestones {options.milestones} belongs to --schedule multistep, not to {schedule}.")
    return schedule


def read_yaml(path):
    """The mapping in a YAML file, read as data. Raises FileNotFoundError, or UserError where it is no mapping."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such options file.")
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected options as 'name: value' lines, found {type(content).__name__}.")
    return content


def _checked(parser, content, path, strict):
    """The options of a file with the types of their flags. strict: an unknown name is an error, else it is passed over
    (opts.yaml files of other versions hold names of their own). What a recipe says beside them is checked, no more."""
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    values = {}
    for name, value in _with_stride(content, path).items():
        if strict and name == recipe.KEY:
            recipe.check_recipe(value, path)
        elif name not in actions:
            if strict and name not in BESIDE_FLAGS:
                raise UserError(f"{path}: unknown option {name!r}.{did_you_mean(str(name), actions)}")
        else:
            values[name] = _converted(actions[name], value, path)
    return values


def _with_stride(content, path):
    """The options of a file; for a published run, with the stride that its network really had.

    A file that names the run but no backbone was written by the published code: our own always name both.
    """
    published = "name" in content and "backbone" not in content
    if published and content.get("stride") == 1 and any(content.get(flag) for flag in WITHOUT_STRIDE):
        print(f"{path}: the published network ignored stride: 1, so it is ignored here, too.", file=sys.stderr)
        return content | {"stride": 2}
    return content


def _converted(action, value, path):
    """One value of an options file as its flag would give it."""
    if value is None and action.default is None:
        return None
    try:
        if isinstance(action.default, bool):
            if not isinstance(value, bool):
                raise ValueError("expected true or false")
            return value
        if action.dest == "gpu_ids" and isinstance(value, list):  # as the published code writes it; [] is the CPU
            value = ",".join(map(str, value)) or "-1"
        value = (action.type or str)(str(value))
        if action.choices and value not in action.choices:
            raise ValueError(f"expected one of {', '.join(map(str, action.choices))}")
        return value
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise UserError(f"{path}: {action.dest}: {value!r} does not fit ({error}).") from error


def changed_flags(before, now):
    """The flags, by name, in which two options differ and on which the trained network depends."""
    return [
        name for name in vars(now) if name not in WITHOUT_EFFECT and getattr(now, name) != getattr(before, name, None)
    ]


def _refuse_changes(before, now, path):
    """A resumed run continues as it began; only what does not touch its result may differ."""
    changed = changed_flags(before, now)
    if changed:
        listing = ", ".join(f"{name} {getattr(before, name)} → {getattr(now, name)}" for name in changed)
        raise UserError(
            f"--resume continues the run as {path} describes it, but flags change it: {listing}. "
            "Leave them out, or start a new run under another --name."
        )
