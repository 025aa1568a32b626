"""The options of a run: defaults, a `--config` file, flags, and the file that a run leaves (model/NAME/opts.yaml).

The flags themselves are declared in person_reid/cli/flags.py.
"""

import argparse
import logging
import sys

import yaml

from person_reid import losses
from person_reid.basics import UserError, did_you_mean
from person_reid.cli.flags import MILESTONES, milestones, training_parser
from person_reid.cli.specs import loss_plan, precision
from person_reid.models.spec import NETWORK_FLAGS, PUBLISHED_CLASSES, NetworkSpec, chosen_backbone, ignores_stride
from person_reid.reproduce import recipe
from person_reid.run_folder import RunFolder, read_yaml

log = logging.getLogger(__name__)
# What an opts.yaml, the published code's too, holds beside flags: it can be the --config of another run.
BESIDE_FLAGS = {"nclasses", "local_rank", "world_size", "workers", "prefetch_factor"}


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
    own = RunFolder(first.name).options_file
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


def load_run_options(name, given=None):
    """The resolved options of the run model/NAME, keys that an older file lacks at their defaults, and its `nclasses`.

    given: {flag: value} of flags that describe its network, for what an older file does not say. Raises UserError for
    those that the file contradicts, and where there is no such run; it lists those there are.
    """
    run = RunFolder(name)
    path, content = run.options_file, run.options()
    parser = training_parser()
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


def dump_options(options):
    """The options as YAML text."""
    return yaml.safe_dump(vars(options))


def resolve(options):
    """Fill in what depends on other flags (network, image size, learning rates), and refuse what cannot work.

    Raises UserError for two networks, precisions or schedules at once, and for flags that the network would ignore.
    """
    from person_reid.models import factory

    precision(options)
    loss_plan(options)
    options.backbone = chosen_backbone(vars(options))
    spec = NetworkSpec.of(vars(options))
    factory.check_network(spec)
    spec = factory.resolve(spec)
    options.height, options.width, options.drop_path = spec.height, spec.width, spec.drop_path
    options.backbone_lr = options.backbone_lr or 0.1 * options.lr
    options.prototype_lr = options.prototype_lr or options.lr
    options.schedule = _chosen_schedule(options)
    options.wa = options.wa or options.DG  # the average is the teacher
    return options


def _chosen_schedule(options):
    """The one schedule that --schedule or --cosine names; step where neither does."""
    if options.cosine and options.schedule not in (None, "cosine"):
        raise UserError(f"--cosine and --schedule {options.schedule} exclude each other: choose one.")
    schedule = "cosine" if options.cosine else options.schedule or "step"
    if milestones(options.milestones) != milestones(MILESTONES) and schedule != "multistep":
        raise UserError(f"--milestones {options.milestones} belongs to --schedule multistep, not to {schedule}.")
    return schedule


def _checked(parser, content, path, strict):
    """The options of a file with the types of their flags. strict: an unknown name is an error, else it is passed over
    (opts.yaml files of other versions hold names of their own). What a recipe says beside them is checked, no more."""
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    values = {}
    if ignores_stride(content):
        log.warning("%s: the published network ignored stride: 1, so it is ignored here, too.", path)
        content = content | {"stride": 2}
    for name, value in content.items():
        if strict and name == recipe.KEY:
            recipe.check_recipe(value, path)
        elif name not in actions:
            if strict and name not in BESIDE_FLAGS:
                raise UserError(f"{path}: unknown option {name!r}.{did_you_mean(str(name), actions)}")
        else:
            values[name] = _converted(actions[name], value, path)
    return values


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


def _refuse_changes(before, now, path):
    """A resumed run continues as it began; only what does not touch its result may differ."""
    from person_reid.training.spec import changed_flags

    changed = changed_flags(vars(before), vars(now))
    if changed:
        listing = ", ".join(f"{name} {getattr(before, name)} → {getattr(now, name)}" for name in changed)
        raise UserError(
            f"--resume continues the run as {path} describes it, but flags change it: {listing}. "
            "Leave them out, or start a new run under another --name."
        )
