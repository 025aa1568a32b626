"""Declare an option as a field of a frozen dataclass, with all its properties.

    height: int | None = option(None, "height of the images", range=SIDE)

The name of the field is the flag of the scripts, the key in opts.yaml and the attribute. This
package imports nothing but the standard library, so that --help and error messages do not wait for
torch.
"""

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import Field, FrozenInstanceError, dataclass, field, fields, replace
from datetime import date
from functools import cache
from inspect import get_annotations
from numbers import Integral, Real
from typing import (
    Any,
    ClassVar,
    NamedTuple,
    NoReturn,
    Self,
    TypeVar,
    dataclass_transform,
    get_args,
    get_type_hints,
)

from person_reid.errors import UserError
from person_reid.text import did_you_mean

LONGEST_TEXT = 4096  # characters, as in a path on Linux
LARGEST_SIDE = 4096  # pixels; the most that a file may request
# Bounds of a setting, within which float32 can still compute.
SMALLEST_SETTING, LARGEST_SETTING = 1e-12, 10**9
# Names that people guess. A command line accepts them; Python and files get the right name.
ALIASES = {
    "epoch": "total_epoch",
    "epochs": "total_epoch",
    "total_epochs": "total_epoch",
    "batch_size": "batchsize",
    "device": "gpu_ids",
}
Config = TypeVar("Config", bound="Options")
Number = TypeVar("Number", int, float)


# Flags whose name differs from their option's: `from` and `for` are Python keywords, and `output`
# is a file that other scripts write.
FLAGS = {
    "from_run": "from",
    "feature_output": "output",
    "train_identities": "identities",
    "client": "for",
    "compared": "for",
}


def as_flag(name: str, value: Any = True) -> str:
    """Return how a command line spells an option and its value."""
    flag = f"--{FLAGS.get(name, name)}"
    if value is True:
        return flag
    return f"{flag} {value:g}" if isinstance(value, float) else f"{flag} {value}"


class Range(NamedTuple):
    """The numbers that an option accepts, and how a message describes them."""

    words: str
    fits: Callable[[float], bool]


POSITIVE = Range("above 0", lambda number: number > 0)
WHOLE = WEIGHT = Range("of 0 or above", lambda number: number >= 0)
SEED = Range("of 0 or above", lambda number: number >= 0)  # only a seed may have 18 digits
FRACTION = Range("from 0 to 1", lambda number: 0 <= number <= 1)
PART = Range("from 0 to below 1", lambda number: 0 <= number < 1)
SHARE = Range("between 0 and 1", lambda number: 0 < number < 1)
FRAME_RATE = Range("from 0.01 to 1000 per second", lambda number: 0.01 <= number <= 1000)
SIDE = Range("from 16 to 2048 pixels", lambda number: 16 <= number <= 2048)


@dataclass(frozen=True)
class Option:
    """The properties of an option besides its name, type and default.

    help: one line for --help and the page of options.
    choices: the allowed values, or () for any. names: names to list in its help. range: the allowed
    numbers.
    form: turns a text into its canonical form. Raises ValueError if the text does not fit.
    needs: {other option: values with which this one has an effect}; ANY means any that is set.
        stands_for: (option, value) that a published flag abbreviates.
    implies: implies(value, {name: declaration} of all options) → {option: value} that it decides,
        unless they are given. It may replace the value itself.
    common: whether the short --help shows it.
    published: whether the published code has it, so that its abbreviations keep their meaning; also
        true for an older option that a newer one would make ambiguous.
    effect: whether a trained network depends on it; a run cannot be resumed with another value.
    alters: whether features from different values cannot be compared. bare: the value if the flag
    has none, as in `--compile`.
    metavar: the placeholder in --help, by default N or X for numbers; more than one word for
        several values.
    flags: how a command line spells the option, if not --NAME.
    several: how many values it takes: a number, "*" or "+"; the value is then a tuple.
    positional: whether its values stand on the command line without a flag.
    required: whether the command line must have the flag.
    """

    help: str
    choices: Sequence[Any] = ()
    names: Sequence[str] = ()
    range: Range | None = None
    form: Callable[[str], str] | None = None
    needs: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    stands_for: tuple[str, Any] | None = None
    implies: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]] | None = None
    common: bool = False
    published: bool = False
    effect: bool = True
    alters: bool = False
    bare: str | int | None = None
    metavar: str | None = None
    flags: tuple[str, ...] = ()
    several: int | str | None = None
    positional: bool = False
    required: bool = False


ANY = (object(),)


def option(default: Any, help: str, **about: Any) -> Any:
    """Declare an option as a field of a group; Option describes the other arguments."""
    return field(default=default, metadata={"option": Option(help, **about)})


def redeclared(kind: "type[Options]", name: str, default: Any, **changes: Any) -> Any:
    """Declare an inherited option again, with another default or other changed properties."""
    inherited = kind.declared()[name].about
    return field(default=default, metadata={"option": replace(inherited, **changes)})


def checked_text(text: str) -> str:
    """Check text from a flag, a file or Python, and return it.

    Raises ValueError if it is empty or too long.
    """
    if not text.strip() or "\0" in text:
        raise ValueError("expected a value, found an empty one")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"{text[:20]}…: expected at most {LONGEST_TEXT:,} characters")
    try:
        os.fsencode(text)  # accepts surrogates, which stand for bytes of a file's name
    except UnicodeEncodeError:
        raise ValueError("expected text, found half of a character") from None
    return text


def computable(number: float) -> bool:
    """Return whether a setting is 0, or a number that float32 neither overflows nor rounds to 0."""
    return number == 0 or SMALLEST_SETTING <= abs(number) <= LARGEST_SETTING


def checked_number(kind: type[Number], value: Any, range: Range | None = None) -> Number:
    """Check a number from a flag, a file or Python, and return it.

    Raises ValueError if it has the wrong type, is out of range, or too large or too small to
    compute with.
    """
    try:
        number = kind(value)
    except (ValueError, OverflowError):
        point = ". Write a decimal point" if kind is float and "," in str(value) else ""
        raise ValueError(f"invalid {kind.__name__} value: {value!r}{point}") from None
    if kind is int and not isinstance(value, str | Integral):
        raise ValueError(f"invalid {kind.__name__} value: {value!r}")
    if not math.isfinite(number):
        raise ValueError(f"{value}: expected a finite number")
    if kind is int and abs(number) >= 2**63:
        raise ValueError(f"{str(value)[:20]}…: expected a number of at most 18 digits")
    if range and not range.fits(number):
        raise ValueError(f"{value}: expected a number {range.words}")
    if range is not SEED and not computable(number):
        raise ValueError(
            f"{value}: expected 0, or a number between {SMALLEST_SETTING:g} and {LARGEST_SETTING:g}"
        )
    return number


class DeclaredOption(NamedTuple):
    """An option declared by a group. kind: the type of each value."""

    name: str
    kind: type
    default: Any
    about: Option
    group: str

    def checked(self, value: Any) -> Any:
        """Convert a value from a file, a command line or Python to the option's type.

        Raises ValueError, with the reason, if it does not fit.
        """
        if value is None and self.default is None:
            return None
        if not self.about.several:
            return self.checked_one(value)
        if not isinstance(value, tuple | list):
            raise ValueError("expected several values")
        return tuple(map(self.checked_one, value))

    def checked_one(self, value: Any) -> Any:
        """Convert one of several values, or the only value. Raises ValueError as `checked` does."""
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ValueError("expected true or false")
            return value
        if isinstance(value, bool) or not isinstance(value, Real | str | date):
            raise ValueError("expected one value")
        if isinstance(value, date) and self.kind is not str:
            raise ValueError("expected a number, found a date")
        if self.kind is str:
            text = checked_text(str(value))
            value = self.about.form(text) if self.about.form else text
        else:
            value = checked_number(self.kind, value, self.about.range)
        if self.about.choices and value not in self.about.choices:
            names = ", ".join(map(str, self.about.choices))
            near = did_you_mean(str(value), [str(choice) for choice in self.about.choices])
            raise ValueError(
                f"expected one of {names}.{near}" if near else f"expected one of {names}"
            )
        return value


EXPECTED = {bool: "true or false", str: "text"}


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Options:
    """The base class of all option groups, and of configurations composed of groups.

    A class derived from it is a frozen dataclass, whose fields are passed by name.

    title: heads the group in --help: `class Speed(Options, title="speed")`.
    left_out: inherited options that the script does not take; they keep their defaults.
    own_options: the declarations of the class's own options.
    """

    title: ClassVar[str] = ""
    left_out: ClassVar[frozenset[str]] = frozenset()
    own_options: ClassVar[Mapping[str, Option]] = {}

    def __init_subclass__(
        cls,
        title: str | None = None,
        kw_only: bool = True,
        declare: Callable[[Any], object] | None = None,
    ) -> None:
        """Turn a group into a frozen dataclass. declare: declares further options in it."""
        if title is not None:
            cls.title = title
        if declare:
            declare(cls)
        own = {name: each for name, each in vars(cls).items() if isinstance(each, Field)}
        cls.own_options = {name: each.metadata["option"] for name, each in own.items()}
        dataclass(frozen=True, kw_only=kw_only)(cls)
        # A class may also be decorated as a dataclass, and the decorator rejects one that has
        # these.
        del cls.__setattr__, cls.__delattr__

    def __new__(cls, *_: Any, **values: Any) -> Self:
        """Reject a mistyped name, and suggest the right name, unlike Python's own error."""
        known = [each.name for each in fields(cls)]  # type: ignore[arg-type]
        for name in values:
            if name not in known:
                meant = did_you_mean(ALIASES.get(name, name), known)
                raise UserError(f"{cls.__name__}: no option {name!r}.{meant}")
        return super().__new__(cls)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __post_init__(self) -> None:
        """Check that values passed from Python are valid and compatible."""
        for name, each in self.declared().items():
            value = getattr(self, name)
            try:
                for part in value if isinstance(value, tuple) else (value,):
                    if part is not None and isinstance(part, str) != (each.kind is str):
                        expected = EXPECTED.get(each.kind, "a number")
                        raise ValueError(f"expected {expected}, found {part!r}")
                each.checked(value)
            except ValueError as error:
                raise unfit(name, value, error) from None
        vars(self).update(self.translated(self.not_default(self.declared())))
        self.refuse_fault()

    @classmethod
    def translated(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return `values`, {name: value}, together with what the published flags in them stand for.

        `--use_swin` stands for `--backbone swin_base`. Raises UserError for options that exclude
        each other.
        """
        decided = dict(values)
        # {option: what chose it}
        chosen = {name: named(name, value) for name, value in values.items() if value is not False}
        for name, each in cls.declared().items():
            if each.about.stands_for and values.get(name):
                other, value = each.about.stands_for
                if other in chosen and decided[other] != value:
                    raise UserError(f"{chosen[other]} and {name} exclude each other: choose one.")
                decided[other], chosen[other] = value, name
        return decided

    @classmethod
    def of_checked(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration with `values`, {name: value}, which must have been checked."""
        config = object.__new__(cls)
        defaults = {each.name: each.default for each in fields(cls)}  # type: ignore[arg-type]
        vars(config).update(defaults, **values)
        config.refuse_fault()
        return config

    def refuse_fault(self) -> None:
        """Raise UserError if the options of a group are incompatible."""
        faults = (vars(kind)["fault"](self) for kind in type(self).__mro__ if "fault" in vars(kind))
        if fault := next(filter(None, faults), ""):
            raise UserError(fault)

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not.

        Each group names what is wrong with its own options; a configuration checks all its groups.
        """
        return ""

    def not_default(self, names: Iterable[str]) -> dict[str, Any]:
        """Return {name: value} for the options in `names` that differ from their defaults."""
        defaults = {name: each.default for name, each in self.declared().items()}
        values = {name: getattr(self, name) for name in names if name in defaults}
        return {name: value for name, value in values.items() if value != defaults[name]}

    @classmethod
    @cache
    def declared(cls) -> dict[str, DeclaredOption]:
        """Return {name: option} for the group or configuration, in the order of --help."""
        types = get_type_hints(cls)
        titles = {
            name: getattr(kind, "title", "")
            for kind in cls.__mro__
            for name in get_annotations(kind)
        }
        abouts = {
            name: about
            for kind in reversed(cls.__mro__)
            for name, about in vars(kind).get("own_options", {}).items()
        }
        return {
            each.name: DeclaredOption(
                each.name,
                _kind(types[each.name]),
                each.default,
                abouts[each.name],
                titles[each.name],
            )
            for each in fields(cls)  # type: ignore[arg-type] # every group is a dataclass
            if each.name not in cls.left_out
        }


def text_options(kind: type[Options]) -> set[str]:
    """Return the names of the options whose values are text, not numbers or Booleans."""
    return {name for name, each in kind.declared().items() if each.kind is str}


def _kind(hint: Any) -> type:
    """Return the type of an option's value, such as int for `int | None`."""
    return next((kind for kind in get_args(hint) if kind is not type(None)), hint)


def configured(kind: type[Config], values: Mapping[str, Any], others: Iterable[str] = ()) -> Config:
    """Return a configuration with `values`, {name: value}, in place of the defaults.

    others: further names that a user may have meant by an unknown one.

    Raises UserError for an unknown name, a value that does not fit, and as `resolve` does.
    """
    known = kind.declared()
    typed = {}
    for name, value in values.items():
        if name not in known:
            meant = did_you_mean(ALIASES.get(name, name), [*known, *others])
            raise UserError(f"no option {name!r}.{meant}")
        try:
            typed[name] = known[name].checked(value)
        except ValueError as error:
            raise unfit(name, value, error) from None
    return resolve(kind, typed)


def unfit(name: str, value: Any, reason: ValueError) -> UserError:
    """Return the error to raise for a value that does not fit its option."""
    text = str(reason).removeprefix(f"{value}: ")
    return UserError(f"{named(name, value)}: {text}{'' if text.endswith('?') else '.'}")


def named(name: str, value: Any = True) -> str:
    """Return an option and its value as a message shows them, or only the name of a given flag."""
    return name if value is True else f"{name}={value}"


def resolve(
    kind: type[Config], values: Mapping[str, Any], given: Collection[str] | None = None
) -> Config:
    """Return a configuration with `values` and the values that they imply for other options.

    Only this function decides which options are compatible, from what they declare. An option may
    imply others that are not set: `--weights osnet_x0_25_msmt17` implies the backbone of that
    network. A published flag stands for another option; see Options.translated. An option may need
    others: `--instances 4` has no effect without `--sampler pk`. A group's `fault` names any other
    conflict.

    values: {name: value} that a user has set, now or in a file. Each fits its option.
    given: the names set just now, by default all names. An option from a file is never rejected as
        meaningless.

    Raises UserError for options that exclude each other, or that would be ignored.
    """
    known, translated = kind.declared(), kind.translated(values)
    decided = dict(translated)
    for name in values:
        if implies := known[name].about.implies:
            implied = implies(values[name], known)
            decided |= {k: v for k, v in implied.items() if k == name or k not in translated}
    config = kind.of_checked(decided)
    now = values if given is None else given
    for name in filter(now.__contains__, known):  # the same order at every entrance
        needs, value = known[name].about.needs, decided[name]
        met = any(
            bool(getattr(config, other)) if those is ANY else getattr(config, other) in those
            for other, those in needs.items()
        )
        if needs and value != known[name].default and not met:
            wanted = " or ".join(
                named(other, True if those is ANY else those[0]) for other, those in needs.items()
            )
            raise UserError(f"{named(name, value)} would be ignored without {wanted}.")
    return config


def changed(kind: type[Options], before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of changed options that affect a trained network."""
    known = kind.declared().items()
    return [name for name, each in known if each.about.effect and before.get(name) != now[name]]
