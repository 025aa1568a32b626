"""The losses that a training run minimises, described as data before the network exists.

Criterion builds the modules.
"""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from person_reid.config.option import computable
from person_reid.config.train import PUBLISHED_LOSSES, LossOptions
from person_reid.errors import UserError
from person_reid.losses import LOSS_OF_HEAD, check_setting, create_loss
from person_reid.losses.base import REGISTRY, FeatureLoss


@dataclass(frozen=True)
class LossSpec:
    """One loss: `weight` × the loss called `name` with these settings.

    per_image: whether to divide it by the number of images, as the published training does.
    """

    name: str
    weight: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    per_image: bool = False

    @property
    def kind(self) -> type[FeatureLoss]:
        """Return the loss's class, whose attributes state what the loss needs."""
        return REGISTRY[self.name].loss


@dataclass(frozen=True)
class LossPlan:
    """All losses that a run minimises: the classifier's loss and those added to it.

    classification: the classifier's loss. added: the losses on features and class scores.
    taught: the losses that compare the network with a teacher.
    """

    classification: LossSpec = LossSpec("cross_entropy")
    added: tuple[LossSpec, ...] = ()
    taught: tuple[LossSpec, ...] = ()


def loss_plan(options: LossOptions, head: str = "linear") -> LossPlan:
    """Return the losses that the options name, for a network with this head.

    Raises UserError for a loss named twice, for a loss on class scores that does not fit the head,
    for a teacher that is missing or would be ignored, and for options that do not apply to these
    losses.
    """
    by_flag = _flagged(options)
    listed = parse_terms(options.loss or "")
    for name in listed:
        if name in by_flag:
            flag = "alpha" if name == "verification" else name
            raise UserError(
                f"The loss {name} is asked for twice, by {flag} and by loss={options.loss}."
            )
        _check_head(name, options.loss, head)
    weight, settings = listed.pop("cross_entropy", (1.0, {}))
    if "smoothing" in settings:
        raise UserError(f"loss={options.loss}: set the smoothing by label_smoothing.")
    terms = [LossSpec(name, weight, typed(name, given)) for name, (weight, given) in listed.items()]
    taught = tuple(term for term in terms if term.kind.needs_teacher)
    rest = tuple(term for term in (*by_flag.values(), *terms) if not term.kind.needs_teacher)
    of_head = {"smoothing": options.label_smoothing, **typed(LOSS_OF_HEAD[head], settings)}
    plan = LossPlan(LossSpec(LOSS_OF_HEAD[head], weight, of_head), rest, taught)
    _refuse_ignored(options, plan)
    return plan


def _flagged(options: LossOptions) -> dict[str, LossSpec]:
    """Return the losses that published flags request, {name: term}."""
    settings = {name: {"gamma": options.ins_gamma} for name in ("instance", "instance_id")}
    terms = {
        name: LossSpec(name, 1.0, settings.get(name, {}), per_image)
        for name, per_image in PUBLISHED_LOSSES.items()
        if getattr(options, name)
    }
    if options.alpha:
        terms["verification"] = LossSpec("verification", options.alpha)
    return terms


def _refuse_ignored(options: LossOptions, plan: LossPlan) -> None:
    """Raise UserError if an option does not apply to the losses in a plan."""
    if plan.taught and not options.teacher:
        raise UserError(
            f"loss={options.loss}: {plan.taught[0].name} needs a teacher: teacher=RUN or FILE."
        )
    if options.teacher and not plan.taught:
        raise UserError(
            f"teacher={options.teacher} would be ignored. Say how to learn: "
            "loss=teacher_features:5."
        )
    if options.label_smoothing and not plan.classification.weight:
        raise UserError(
            f"label_smoothing={options.label_smoothing} would be ignored without cross entropy, "
            "which loss=cross_entropy:0 omits."
        )


def learns(plan: LossPlan) -> bool:
    """Return whether any loss in a plan has weights to train, such as prototypes."""
    modules = [create_loss(spec.name, 2, 2, 2) for spec in (*plan.added, *plan.taught)]
    return any(list(module.parameters()) for module in modules)


def taught_losses(options: LossOptions) -> list[str]:
    """Return the names of the losses that compare the network with a teacher."""
    return [name for name in parse_terms(options.loss or "") if REGISTRY[name].loss.needs_teacher]


def pair_losses(options: LossOptions) -> list[str]:
    """Return the names of the losses that need pairs of images of the same identity."""
    listed = [*_flagged(options), *parse_terms(options.loss or "")]
    return [name for name in listed if REGISTRY[name].loss.needs_positives]


def _check_head(name: str, listed: str | None, head: str) -> None:
    """Raise UserError if the listed loss `name` cannot be added to the loss of the head.

    Such a loss takes class scores, and belongs to a classifier or does not fit the head.
    """
    if name == "cross_entropy" or REGISTRY[name].loss.takes != "logits":
        return
    if name in LOSS_OF_HEAD.values():
        raise UserError(
            f"loss={listed}: {name} is the loss of a classifier, not an additional one. "
            f"Choose it by head={name.removesuffix('_softmax')}; "
            "cross_entropy:0.5 in its place gives it a weight."
        )
    if head != "linear":
        raise UserError(
            f"loss={listed} with head={head}: {name} needs class scores, "
            f"but that classifier returns cosines. Leave {name} out, or choose the linear head."
        )


def parse_losses(text: str) -> dict[str, float]:
    """Parse a list such as "triplet:1.0,center:1e-3" into {name: weight}, as parse_terms does."""
    return {name: weight for name, (weight, _) in parse_terms(text).items()}


def parse_terms(text: str) -> dict[str, tuple[float, dict[str, str]]]:
    """Parse a list such as "triplet:0.5:margin=0.2,center" into {name: (weight, {setting: text})}.

    Raises UserError for an unknown name, a repeated name or setting, and a weight that is not a
    number ≥ 0.
    """
    terms: dict[str, tuple[float, dict[str, str]]] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, *words = part.split(":")
        REGISTRY.named(name)
        pairs = [word.split("=", 1) for word in words if "=" in word]
        settings = dict(pairs)
        weights = [word for word in words if "=" not in word]
        try:
            weight = float("".join(weights) or 1.0)
        except ValueError:
            weight = math.nan
        if (
            not (weight >= 0 and computable(weight))
            or len(weights) > 1
            or name in terms
            or len(settings) < len(pairs)
        ):
            raise UserError(
                f"loss {part!r}: expected name:weight or name:weight:setting=value, "
                "such as triplet:0.5:margin=0.2, "
                "each name once, and each setting."
            )
        terms[name] = weight, settings
    return terms


def typed(name: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Convert settings of the loss called `name` from text to float, int, bool or str.

    Raises UserError for an unknown setting and for a value that does not fit.
    """
    parameters = inspect.signature(REGISTRY[name].loss).parameters.values()
    known = {each.name: each.default for each in parameters if each.default is not each.empty}
    optional = {each.name for each in parameters if type(None) in get_args(each.annotation)}
    values: dict[str, Any] = {}
    for setting, text in settings.items():
        check_setting(name, setting, known)
        kind = type(known[setting])
        if setting in optional and text.lower() == "none":
            values[setting] = None
            continue
        try:
            values[setting] = (
                {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
            )
            if kind in (int, float) and not (values[setting] >= 0 and computable(values[setting])):
                raise ValueError
        except (KeyError, ValueError):
            expected = {bool: "true or false", int: "a whole number"}.get(
                kind, "a number of 0 or above"
            )
            raise UserError(
                f"loss {name}: {setting}={text}: expected {expected}, such as {known[setting]}."
            ) from None
    create_loss(name, num_classes=2, dim=2, taught_dim=2, **values)  # it checks the values
    return values
