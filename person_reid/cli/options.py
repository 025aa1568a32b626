"""The options of a run, from defaults, a `--config` file, flags, and the opts.yaml of an earlier run.

The flags themselves are declared in person_reid/cli/flags.py.
"""

import argparse
import logging
import sys
from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from person_reid import losses
from person_reid.basics import UserError, did_you_mean
from person_reid.cli.flags import MILESTONES, training_parser
from person_reid.cli.specs import loss_plan, precision
from person_reid.cli.values import image_sizes, milestones
from person_reid.models import factory
from person_reid.models.spec import NETWORK_FLAGS, NetworkSpec, chosen_backbone, ignores_stride
from person_reid.run_folder import RunFolder, check_run_name, read_yaml
from person_reid.training.spec import changed_flags

log = logging.getLogger(__name__)
FOLLOWING = {"backbone_lr": 0.1, "prototype_lr": 1.0}  # shares of --lr, unless they are given
PROTOTYPES = "a loss with weights of its own, such as --arcface"
# Entries of an opts.yaml, ours or of the published code, that are not flags. The file can be the --config of a new run.
BESIDE_FLAGS = {"nclasses", "local_rank", "world_size", "workers", "prefetch_factor", "profile"}


def parse_train(
    argv: Sequence[str] | None = None,
    text: str | None = "",
    parser: argparse.ArgumentParser | None = None,
    shared: bool = False,
) -> Namespace:
    """Return the resolved options of train.py: flags override the `--config` file, which overrides the defaults.

    With `--resume`, the run's own opts.yaml replaces defaults and file. text: the docstring of the script, for --help.
    parser: of another command that trains; what it does not take has a default in it.
    shared: --batchsize is for all GPUs of --gpu_ids together, as in train.py; opts.yaml holds the share of one.
    Raises UserError for options that cannot work, and for those that contradict a run to resume.
    """
    of_train, parser = parser is None, parser or training_parser(text)
    first = parser.parse_args(argv)
    if first.loss == "list":
        print(losses.table())
        sys.exit()
    own = RunFolder(first.name).options_file
    file, *pairs = first.config or [None]
    replaced = _checked(parser, _pairs(pairs, _texts(parser)), "--config FILE KEY=VALUE", strict=True)
    if first.resume and own.exists():
        parser.set_defaults(**_checked(parser, read_yaml(own, _texts(parser)), own, strict=False))
        before = parser.parse_args([])
        parser.set_defaults(**replaced)
        now = parser.parse_args(argv)
        if shared and now.batchsize == before.batchsize * len(now.gpu_ids.split(",")):
            now.batchsize = before.batchsize
        _refuse_changes(before, now, own)
    elif file:
        content = read_yaml(file, _texts(parser))
        values = _checked(parser, content, file, strict=True)
        # of the opts.yaml of a run; they follow another lr, too
        rates = {name: share * values["lr"] for name, share in FOLLOWING.items() if "nclasses" in content}
        parser.set_defaults(**{name: value for name, value in values.items() if value != rates.get(name)})
        parser.set_defaults(**replaced)
    options = parser.parse_args(argv)
    if first.config:
        options.config = " ".join(first.config)
    check_run_name(options.name)
    if of_train:
        _refuse_ignored(parser, options)
        _refuse_weightless(options)
    if options.warm_epoch > options.total_epoch:
        log.warning("The training ends before the learning rate has risen: --warm_epoch is more than --total_epoch.")
    if options.schedule == "multistep" and milestones(options.milestones)[0] >= options.total_epoch:
        log.warning("The learning rate never drops: --milestones %s are not below --total_epoch.", options.milestones)
    if options.freeze_epochs >= options.total_epoch:
        log.warning("The backbone learns nothing: --freeze_epochs is not less than --total_epoch.")
    return resolve(options)


def _refuse_ignored(parser: argparse.ArgumentParser, options: Namespace) -> None:
    """Raise UserError for a flag that means nothing without another one."""
    plan = loss_plan(options)
    needs = {
        "instances": (options.sampler != "shuffle", "--sampler pk"),
        "DG_dir": (options.DG, "--DG"),
        "aiter": (options.adv, "--adv"),
        "ins_gamma": (options.instance or options.instance_id, "--instance or --instance_id"),
        "prototype_lr": (any(term.learns for term in (*plan.terms, *plan.taught)), PROTOTYPES),
        "label_smoothing": (plan.classification_weight, "cross entropy, which --loss cross_entropy:0 leaves out"),
    }
    for flag, (used, other) in needs.items():
        if not used and getattr(options, flag) != parser.get_default(flag):
            raise UserError(f"--{flag} would be ignored without {other}.")


def _refuse_weightless(options: Namespace) -> None:
    """Raise UserError if there is nothing to learn because every loss has the weight 0."""
    plan = loss_plan(options)
    weights = [plan.classification_weight, *(term.weight for term in (*plan.terms, *plan.taught))]
    if not any(weights) and not options.adv and not options.DG:
        raise UserError(
            f"--loss {options.loss}: every loss has the weight 0, so there is nothing to learn. "
            "Give one a weight, such as triplet:1."
        )


def _texts(parser: argparse.ArgumentParser) -> set[str]:
    """Return the names of the options whose values are text: neither numbers nor true or false."""
    typed = ("int", "float")
    return {
        action.dest
        for action in parser._actions
        if not isinstance(action.default, bool) and getattr(action.type, "__name__", "") not in typed
    }


def _pairs(words: Sequence[str], texts: Collection[str]) -> dict[str, Any]:
    """Return {name: value} for words such as `lr=0.02` and `cosine=true`, each name once.

    texts: the names of options for which `true` and `false` are text. Raises UserError for any other word.
    """
    if wrong := [word for word in words if not word.partition("=")[2]]:
        raise UserError(f"--config FILE KEY=VALUE: {wrong[0]!r}: expected an option and its value, such as lr=0.02")
    values = {"true": True, "false": False, "null": None}
    found: dict[str, Any] = {}
    for name, _, text in (word.partition("=") for word in words):
        if name in found:
            raise UserError(f"--config FILE KEY=VALUE: {name} is there twice; remove one of them.")
        found[name] = text if name in texts and text != "null" else values.get(text, text)
    return found


def load_run_options(name: str, given: Mapping[str, Any] | None = None) -> Namespace:
    """Return the resolved options of the run model/NAME and its `nclasses`. Options missing from the file get defaults.

    given: {flag: value} that describe the network, for options that an older file lacks.
    Raises UserError if the file contradicts them, and if there is no such run; the message lists those there are.
    """
    run = RunFolder(name)
    parser = training_parser()
    path, content = run.options_file, run.options(_texts(parser))
    options, said = parser.parse_args([]), _checked(parser, content, path, strict=False)
    named = any(said.get(flag) for flag in ("backbone", *NETWORK_FLAGS))
    given = given or {}
    vars(options).update((flag, value) for flag, value in given.items() if not (named and flag in NETWORK_FLAGS))
    vars(options).update(said, name=name)
    options.nclasses = run.num_classes(content)
    resolve(options)
    _refuse_contradictions(given, said, options.backbone, path)
    return options


def _refuse_contradictions(given: Mapping[str, Any], said: Mapping[str, Any], backbone: str, path: Path) -> None:
    """Raise UserError for given flags that contradict the file of a run, or its resolved backbone."""
    for flag, value in given.items():
        name, asked = ("backbone", NETWORK_FLAGS[flag]) if flag in NETWORK_FLAGS else (flag, value)
        found = backbone if name == "backbone" else said.get(flag, value)
        if found != asked:
            words = f"--{flag}" if value is True else f"--{flag} {value}"
            raise UserError(
                f"{words} contradicts {path} ({name}: {found}). A run is tested as it was trained: leave the flag out, "
                "or choose another run with --name."
            )


def resolve(options: Namespace) -> Namespace:
    """Fill in the options that depend on others (network, image size, learning rates) and return them.

    Raises UserError for two networks, precisions or schedules at once, and for flags that the network would ignore.
    """

    precision(options)  # like loss_plan, made here only to report mistakes before anything is read
    loss_plan(options)
    options.backbone = chosen_backbone(vars(options))
    spec = NetworkSpec.of(vars(options))
    factory.check_network(spec)
    spec = factory.resolve(spec)
    options.height, options.width, options.drop_path = spec.height, spec.width, spec.drop_path
    if options.resize_schedule:
        _, last = image_sizes(options.resize_schedule, options.total_epoch)[-1]
        if last != (spec.height, spec.width):
            raise UserError(
                f"--resize_schedule {options.resize_schedule}: the last size is that of the trained network, which is "
                f"--height {spec.height} --width {spec.width}."
            )
    for name, share in FOLLOWING.items():
        setattr(options, name, getattr(options, name) or share * options.lr)
    options.schedule = _chosen_schedule(options)
    options.wa = options.wa or options.DG  # the average is the teacher
    return options


def _chosen_schedule(options: Namespace) -> str:
    """Return the schedule that --schedule or --cosine names, or "step". Raises UserError if they contradict."""
    if options.cosine and options.schedule not in (None, "cosine"):
        raise UserError(f"--cosine and --schedule {options.schedule} exclude each other: choose one.")
    schedule = "cosine" if options.cosine else options.schedule or "step"
    if milestones(options.milestones) != milestones(MILESTONES) and schedule != "multistep":
        raise UserError(f"--milestones {options.milestones} belongs to --schedule multistep, not to {schedule}.")
    return schedule


def _checked(
    parser: argparse.ArgumentParser, content: dict[str, Any], path: str | Path, strict: bool
) -> dict[str, Any]:
    """Return the options of a file, converted to the types of their flags. A recipe's own entry is checked and dropped.

    strict: refuse unknown names. Otherwise they are passed over, since opts.yaml files of other versions have some.
    """
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    values = {}
    if ignores_stride(content):
        log.warning("%s: the published network ignored stride: 1, so it is ignored here, too.", path)
        content = content | {"stride": 2}
    for name, value in content.items():
        if strict and name == "recipe":
            from person_reid.reproduce.recipe import check_recipe  # it knows all data sets

            check_recipe(value, path)
        elif name not in actions:
            if strict and name not in BESIDE_FLAGS:
                raise UserError(f"{path}: unknown option {name!r}.{did_you_mean(str(name), actions)}")
        else:
            values[name] = _converted(parser, actions[name], value, path)
    return values


def _converted(parser: argparse.ArgumentParser, action: argparse.Action, value: Any, path: str | Path) -> Any:
    """Return a value of an options file as its flag would give it. Raises UserError if it does not fit the flag."""
    if value is None and action.default is None:
        return None
    try:
        if isinstance(action.default, bool):
            if not isinstance(value, bool):
                raise ValueError("expected true or false")
            return value
        if action.dest == "gpu_ids" and isinstance(value, list):  # as the published code writes it; [] is the CPU
            value = ",".join(map(str, value)) or "-1"
        if not isinstance(value, str | int | float | date):
            raise ValueError("expected one value")
        value = parser._get_value(action, str(value))
        if action.choices and value not in action.choices:
            raise ValueError(f"expected one of {', '.join(map(str, action.choices))}")
        return value
    except (ValueError, argparse.ArgumentError) as error:
        reason = error.message if isinstance(error, argparse.ArgumentError) else error
        raise UserError(f"{path}: {action.dest}: {value!r} does not fit ({reason}).") from error


def _refuse_changes(before: Namespace, now: Namespace, path: Path) -> None:
    """Raise UserError if the options of a resumed run differ in one that its result depends on."""
    if changed := changed_flags(vars(before), vars(now)):
        listing = ", ".join(f"{name} {getattr(before, name)} → {getattr(now, name)}" for name in changed)
        raise UserError(
            f"--resume continues the run as {path} describes it, but flags change it: {listing}. "
            "Leave them out, or start a new run under another --name."
        )
