"""train.py, `fit` and a custom loop have one rule book for options."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import person_reid as reid
from person_reid.config import FitOptions, TrainConfig
from person_reid.config.option import as_flag
from person_reid.console import parse
from person_reid.training.build import check_training

# Python opens a teacher itself, and has one process.
OF_ONE_ENTRANCE = {"teacher", "sync_bn"}
TEXTS = {
    "loss": ["cross_entropy:1:margin=10", "triplet", "triplet:0,cross_entropy:0", "arcface", "kd"],
    "resize_schedule": ["32x16,64x32", "32x16", "64x32,256x128", "64x32:2,256x128"],
    "milestones": ["1", "30,50", "70"],
    "freeze": ["conv1,layer1"],
    "augment": ["cutout", "autoaugment"],
}
NUMBERS: dict[type, list[float]] = {int: [1, 2, 4, 100], float: [0.1, 0.5, 1.0, 2.0]}


def values_of(each):
    """Valid values of an option other than its default."""
    values = [True] if each.kind is bool else each.about.choices or TEXTS.get(each.name)
    for value in values or NUMBERS.get(each.kind, ()):
        try:
            if each.checked(value) != each.default:
                yield value
        except ValueError:
            continue


VALUES = {
    name: values
    for name, each in FitOptions.declared().items()
    if name not in OF_ONE_ENTRANCE and (values := list(values_of(each)))
}


@st.composite
def some_options(draw):
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True))
    return {name: draw(st.sampled_from(VALUES[name])) for name in names}


@pytest.fixture(scope="module", params=["linear", "arcface"])
def network(request):
    return reid.create_model("resnet18", num_classes=3, head=request.param)


def refusal(begin):
    """What `begin` raises, without the dashes of flags."""
    try:
        begin()
    except reid.UserError as error:
        return str(error).replace("--", "")
    return ""


def test_all_options_are_drawn():
    assert len(VALUES) > 0.9 * len(FitOptions.declared().keys() - OF_ONE_ENTRANCE)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(options=some_options())
def test_what_train_py_refuses_fit_refuses_in_the_same_words(network, options):
    flags = [f"--backbone=resnet18 --head={network.head_name}"]
    flags += [as_flag(name, value) for name, value in options.items()]

    def train():
        check_training(parse(TrainConfig, " ".join(flags).split()))

    dataset: Any = []

    def fit():
        try:
            reid.fit(network, dataset, reid.FitOptions(**options), device="cpu")
        except reid.UserError as error:
            # An empty data set is refused after all options.
            if not str(error).startswith(("The network has 3 classes", "fit: adv needs")):
                raise

    assert refusal(fit) == refusal(train)


def test_a_published_flag_is_the_option_that_it_stands_for_everywhere():
    for options in (FitOptions(cosine=True), parse(TrainConfig, ["--cosine"])):
        assert options.schedule == "cosine"
    for run in (TrainConfig(DG=True), parse(TrainConfig, ["--DG"])):
        assert run.wa


def test_a_flag_and_another_value_of_its_option_exclude_each_other():
    message = "schedule=multistep and cosine exclude each other"
    with pytest.raises(reid.UserError, match=message):
        FitOptions(cosine=True, schedule="multistep")
    with pytest.raises(reid.UserError, match=message):
        parse(TrainConfig, ["--cosine", "--schedule", "multistep"])


def test_the_options_of_a_run_hold_the_stride_that_ran(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from person_reid.training.writers import recorded_options

    for flags, stride in (([], 2), (["--PCB"], 1), (["--stride", "1"], 1)):
        assert recorded_options(parse(TrainConfig, flags))["stride"] == stride
    network = reid.create_model("resnet18", PCB=True, size=(96, 32))
    assert network.architecture.feature_map(network.module, torch.zeros(1, 3, 96, 32)).shape[2] == 6
