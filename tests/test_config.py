"""An option that is declared once is in the help, opts.yaml, FitOptions and on the page."""

from dataclasses import asdict, dataclass

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from person_reid.config import FitOptions, TrainConfig
from person_reid.config.adapt import AdaptConfig
from person_reid.config.files import options_in
from person_reid.config.forms import ranks
from person_reid.config.option import (
    FRACTION,
    POSITIVE,
    Options,
    as_flag,
    configured,
    option,
    redeclared,
)
from person_reid.config.search import PeriodOptions
from person_reid.console import parse
from person_reid.console.options import build, parse_known
from person_reid.errors import UserError
from person_reid.losses import LOSS_OF_HEAD, PUBLISHED_LOSSES
from tools.docs import options


class WithMixing(FitOptions):
    """FitOptions with one more option, added in one line."""

    mixup: float = option(0.0, "probability of mixing two images", range=FRACTION)


class WithMixingConfig(WithMixing, TrainConfig):
    """The configuration of a script that takes it."""


def test_an_option_is_added_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["--help", "all"], ["--help"]):
        with pytest.raises(SystemExit):
            parse(WithMixingConfig, words)
        said = capsys.readouterr().out
        assert ("mixing two images" in said) == ("all" in words)
        assert ("--help all" in said) == ("all" not in words)
    config = parse(WithMixingConfig, ["--mixup", "0.5", "--lr", "0.1"])
    written = yaml.safe_load(yaml.safe_dump(asdict(config)))
    assert written["mixup"] == 0.5
    assert options_in(written, WithMixingConfig, "opts.yaml")["mixup"] == 0.5
    assert WithMixing(mixup=0.2).mixup == 0.2
    with pytest.raises(UserError, match="mixup=2: expected a number from 0 to 1"):
        configured(WithMixing, {"mixup": 2})


class WithWords(Options):
    """Options with several values, some of them without a flag."""

    images: tuple[str, ...] = option((), "two images", several=2, positional=True, metavar="IMAGE")
    sizes: tuple[int, ...] = option((1, 2), "some sizes", several="+", range=POSITIVE)


@pytest.mark.parametrize("name", ["lr", "backbone_lr", "prototype_lr"])
def test_a_learning_rate_is_above_0(name):
    with pytest.raises(UserError, match=f"{name}=0: expected a number above 0"):
        configured(TrainConfig, {name: 0})


@pytest.mark.parametrize("name", ["after", "before"])
def test_a_period_has_moments_as_its_ends(name):
    period = configured(PeriodOptions, {"index": "a", name: "2026-11-01T08:30Z"})
    assert getattr(period, name) == "2026-11-01 08:30:00Z"
    with pytest.raises(UserError, match="'yesterday': no such time"):
        configured(PeriodOptions, {"index": "a", name: "yesterday"})


@pytest.mark.parametrize("text", ["0,5", "-1", "1,five", "1,10000000000"])
def test_ranks_begin_at_1(text):
    assert ranks("10,1,5,1") == "1,5,10"
    with pytest.raises(ValueError, match="expected ranks from 1 on"):
        ranks(text)


def test_an_option_may_have_several_values_and_stand_without_a_flag(capsys):
    config = WithWords(images=("a", "b"), sizes=(3,))
    assert parse(WithWords, ["a", "b", "--sizes", "3"]) == config
    assert configured(WithWords, {"images": ["a", "b"], "sizes": [3]}) == config
    assert parse_known(WithWords, ["a", "b", "--size", "3", "--bf16"]) == (
        WithWords(images=("a", "b")), ["--size", "3", "--bf16"]
    )  # fmt: skip
    for words, said in ((["a"], "required: IMAGE"), (["a", "b", "--sizes", "0"], "0: expected a")):
        with pytest.raises(SystemExit):
            parse(WithWords, words)
        assert said in capsys.readouterr().err
    for wrong in ({"images": "ab"}, {"images": (1, 2)}, {"sizes": (0,)}, {"sizes": ("3",)}):
        with pytest.raises(UserError, match=r"(images|sizes)=.*expected"):
            WithWords(**wrong)


@given(st.sampled_from([TrainConfig, AdaptConfig]), st.data())
def test_any_option_is_in_the_help_and_has_one(kind, data):
    declared = data.draw(st.sampled_from([*kind.declared().values()]))
    text = build(kind, "", everything=True).format_help()
    flag = (declared.about.flags or (f"--{declared.name}",))[0]
    assert f"{flag} " in text or f"{flag}\n" in text
    assert declared.about.help
    assert not declared.about.help.endswith(".")


@given(st.sampled_from([*FitOptions.declared()]))
def test_options_of_fit_are_options_of_train(name):
    assert FitOptions.declared()[name].default == TrainConfig.declared()[name].default


def test_defaults_fit_what_is_declared_of_them():
    for kind in (TrainConfig, AdaptConfig):
        for each in kind.declared().values():
            assert each.checked(each.default) == each.default, each.name


def test_the_page_of_options_is_written_from_the_declarations():
    assert options.OPTIONS_PAGE.read_text(encoding="utf-8") == options.page(), (
        "python tools/docs/options.py"
    )
    assert all(f"`--{name}`" in options.page() for name in TrainConfig.declared())


def test_the_short_help_shows_what_is_common(monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    lines = build(TrainConfig, "").format_help().splitlines()
    assert len(lines) <= 50
    assert any("--lr" in line for line in lines)
    assert not any("--cutout_p" in line for line in lines)


def test_names_that_are_wrong_are_refused_with_the_nearest():
    with pytest.raises(
        UserError, match="FitOptions: no option 'epochs'. Did you mean 'total_epoch'"
    ):
        FitOptions(epochs=2)  # type: ignore[call-arg]
    with pytest.raises(UserError, match="no option 'learning_rate'"):
        configured(TrainConfig, {"learning_rate": 1})
    with pytest.raises(UserError, match="no option 'instance_s'. Did you mean 'instances'"):
        configured(TrainConfig, {"instance_s": 1})


@dataclass(frozen=True, kw_only=True)
class First(Options):  # as a plugin may declare one
    a: bool = option(False, "one thing")
    b: bool = option(False, "another")

    def fault(self) -> str:
        return "a and b exclude each other." if self.a and self.b else ""


class Second(Options):
    c: bool = option(False, "a third")
    d: int = option(1, "its number")

    def fault(self) -> str:
        return "d would be ignored without c." if self.d != 1 and not self.c else ""


class Both(First, Second):
    def fault(self) -> str:
        return "a does not work with c." if self.a and self.c else ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": True, "b": True}, "a and b exclude each other."),
        ({"d": 2}, "d would be ignored without c."),
        ({"a": True, "c": True, "d": 2}, "a does not work with c."),
        ({"a": True, "c": True, "b": True}, "a does not work with c."),
    ],
)
def test_the_faults_of_all_groups_of_a_configuration_count(values, message):
    with pytest.raises(UserError) as error:
        Both(**values)
    assert str(error.value) == message
    assert Both(b=True, c=True, d=2).d == 2


def test_errors_name_options_as_a_file_of_options_does():
    for name, value, message in (
        ("instances", 8, "instances=8 would be ignored without sampler=pk."),
        ("use_swin", True, "backbone=resnet18 and use_swin exclude each other: choose one."),
        ("lr", -1, "lr=-1: expected a number above 0."),
        ("head", "pcb", "head=pcb: expected one of linear, cosine, arcface, circle."),
    ):
        with pytest.raises(UserError) as error:
            configured(TrainConfig, {"backbone": "resnet18", name: value})
        assert str(error.value) == message
    assert as_flag("from_run", "hall") == "--from hall"


def test_an_inherited_option_keeps_what_is_known_of_it():
    class Slow(FitOptions):
        lr: float = redeclared(FitOptions, "lr", 1e-4)

    assert Slow().lr == 1e-4
    assert Slow.declared()["lr"].about == FitOptions.declared()["lr"].about
    assert issubclass(Slow, Options)


def test_tables_of_heads_and_losses_agree_with_the_options():
    known = TrainConfig.declared()
    assert known["head"].about.choices == tuple(LOSS_OF_HEAD)
    assert PUBLISHED_LOSSES.keys() <= known.keys()
