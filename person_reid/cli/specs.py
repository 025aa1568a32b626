"""Turn the flags of a command into the specs that the library takes. Below cli/, no function sees a flag."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from person_reid import losses
from person_reid.basics import UserError
from person_reid.cli.values import image_sizes, milestones
from person_reid.data.augment import Augment
from person_reid.losses.plan import LossPlan, LossTerm, published_term
from person_reid.models.spec import NetworkSpec
from person_reid.training.spec import AdaptSpec, DataSpec, OptimizerSpec, TrainSpec

if TYPE_CHECKING:  # most trainings have no teacher
    from person_reid.deploy.embedder import Embedder

WRITERS = ("tensorboard", "wandb", "mlflow")
Spec = TypeVar("Spec", Augment, OptimizerSpec, AdaptSpec, TrainSpec)


def spec_of(kind: type[Spec], options: Namespace, **further: object) -> Spec:
    """Return a spec whose fields are the flags of the same names, and those in `further`, which take precedence."""
    flags = vars(options)
    return kind(**{field.name: flags[field.name] for field in fields(kind) if field.name in flags} | further)


def train_spec(
    options: Namespace, adapt: AdaptSpec | None = None, teacher: Callable[..., Embedder] | None = None
) -> TrainSpec:
    """Return the training that the resolved flags of train.py describe.

    adapt: of a training without labels. teacher: what opens the Embedder of --teacher.
    """
    if options.runtime and not (options.eval_every or adapt):
        raise UserError(f"--runtime {options.runtime} would be ignored without --eval_every.")
    padding = 0 if options.PCB else 10  # PCB was published without padding
    further = options.train_with.split(",") if options.train_with else []
    data = DataSpec(
        roots=(Path(options.data_dir), *map(Path, further)),
        split="train_all" if options.train_all else "train",
        batch_size=options.batchsize,
        sampler=options.sampler,
        instances=options.instances,
        augment=spec_of(Augment, options, padding=padding),
        sizes=tuple(image_sizes(options.resize_schedule, options.total_epoch)) if options.resize_schedule else (),
        unlabelled=Path(options.DG_dir) if options.DG else None,
    )
    optimizer = spec_of(
        OptimizerSpec,
        options,
        name=options.optimizer,
        milestones=tuple(milestones(options.milestones)),
        epochs=options.total_epoch,
        warm_epochs=options.warm_epoch,
        freeze_epochs=options.freeze_epochs,
    )
    return spec_of(
        TrainSpec,
        options,
        network=NetworkSpec.of(vars(options)),
        data=data,
        losses=loss_plan(options),
        optimizer=optimizer,
        dtype=precision(options),
        tf32=not options.no_tf32,
        average=options.wa or adapt is not None,  # the teacher
        adversarial=options.adv,
        adversarial_every=options.aiter,
        evaluate_every=options.eval_every,
        runtime=options.runtime or "torch",
        writers=tuple(name for name in WRITERS if getattr(options, name)),
        flags=dict(vars(options)),
        adapt=adapt,
        teacher=teacher,
    )


def loss_plan(options: Namespace) -> LossPlan:
    """Return the losses that the flags name.

    Raises UserError for a loss that is asked for twice, and for a loss on class scores that does not fit --head.
    """
    flags = {name: f"--{name}" for name in losses.PUBLISHED if getattr(options, name)}
    gamma = {"gamma": options.ins_gamma}
    terms = [published_term(name, **(gamma if name in ("instance", "instance_id") else {})) for name in flags]
    if options.alpha:
        flags["verification"] = "--alpha"
        terms.append(LossTerm("verification", options.alpha))
    listed = losses.parse_terms(options.loss or "")
    for name in listed:
        if name in flags:
            raise UserError(f"The loss {name} is asked for twice, by {flags[name]} and by --loss {options.loss}.")
        _check_head(name, options.loss, options.head)
    weight, settings = listed.pop("cross_entropy", (1.0, {}))
    if "smoothing" in settings:
        raise UserError(f"--loss {options.loss}: choose the smoothing by --label_smoothing.")
    terms += [LossTerm(name, weight, losses.typed(name, given)) for name, (weight, given) in listed.items()]
    taught = tuple(term for term in terms if term.needs_teacher)
    if taught and not options.teacher:
        raise UserError(f"--loss {options.loss}: {taught[0].name} needs a teacher: --teacher RUN or FILE.")
    if options.teacher and not taught:
        raise UserError(f"--teacher {options.teacher} would be ignored. Say how to learn: --loss teacher_features:5.")
    rest = tuple(term for term in terms if not term.needs_teacher)
    of_head = losses.typed(losses.HEADS[options.head], settings)
    return LossPlan(options.head, options.label_smoothing, weight, of_head, rest, taught)


def _check_head(name: str, listed: str, head: str) -> None:
    """Raise UserError for a listed loss on class scores that belongs to a classifier, or does not fit the head."""
    if name == "cross_entropy" or losses.REGISTRY[name].loss.takes != "logits":
        return
    if name in losses.HEADS.values():
        raise UserError(
            f"--loss {listed}: {name} is the loss of a classifier, not an additional one. Choose it by --head "
            f"{name.removesuffix('_softmax')}; cross_entropy:0.5 in --loss gives it a weight."
        )
    if head != "linear":
        raise UserError(
            f"--loss {listed} with --head {head}: {name} needs class scores, but that classifier returns cosines. "
            f"Leave {name} out, or choose --head linear."
        )


def precision(options: Namespace) -> torch.dtype | None:
    """Return autocast's dtype for --fp16 or --bf16, or None for float32. Raises UserError for both flags at once."""
    if options.fp16 and options.bf16:
        raise UserError("--fp16 and --bf16 exclude each other: choose one.")
    return torch.float16 if options.fp16 else torch.bfloat16 if options.bf16 else None
