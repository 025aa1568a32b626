"""Names, settings, published weights, and prototypes that are ordinary parameters."""

import inspect
import re

import pytest
import torch

from person_reid import losses
from person_reid.errors import UserError
from person_reid.losses import plan
from tests.support import ROOT

PUBLISHED_FLAGS = [
    "arcface",
    "circle",
    "contrast",
    "cosface",
    "instance",
    "instance_id",
    "lifted",
    "sphere",
    "triplet",
]


def batch():
    torch.manual_seed(0)
    return torch.randn(16, 8), torch.arange(16) % 4


def test_unknown_names_and_settings_are_answered_with_the_known_ones():
    with pytest.raises(UserError, match="Did you mean 'triplet'"):
        losses.create_loss("tripet")
    with pytest.raises(UserError, match="Did you mean 'gamma'"):
        losses.create_loss("circle", gama=3)
    with pytest.raises(UserError, match="num_classes"):
        losses.create_loss("arcface", dim=8)
    with pytest.raises(UserError, match="dim"):
        losses.create_loss("verification")
    for name, fewest in (("cranked", 1), ("ranked_kmeans", 0)):
        with pytest.raises(UserError, match=f"clusters {fewest - 1}: expected {fewest} or more"):
            losses.create_loss(name, clusters=fewest - 1)
    with pytest.raises(UserError, match="mining"):
        losses.create_loss("triplet", mining="hardest")
    with pytest.raises(UserError, match="soft margin"):
        losses.create_loss("triplet", soft=True)


@pytest.mark.parametrize("name", [3, True, None, float("nan")], ids=repr)
def test_a_name_is_a_text(name):
    with pytest.raises(UserError, match="^no loss .* There are: "):
        losses.create_loss(name)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(4, 2, 2\) and \(4,\)"):
        losses.create_loss("triplet")(torch.zeros(4, 2, 2), torch.zeros(4))
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(3,\)"):
        losses.create_loss("circle")(torch.zeros(4, 2), torch.zeros(3))


@pytest.mark.parametrize(
    "name", ["triplet", "contrast", "lifted", "multi_similarity", "ranked", "cranked", "circle"]
)
def test_labels_in_a_column_are_refused(name):
    """Comparing a column with a row would give another number without a word."""
    features, labels = batch()
    with pytest.raises(ValueError, match=r"\(16, 8\) and \(16, 1\)"):
        losses.create_loss(name)(features, labels[:, None])


def test_every_published_flag_has_its_loss_and_weight():
    assert sorted(losses.PUBLISHED_LOSSES) == PUBLISHED_FLAGS
    features, labels = batch()
    divided = {"arcface", "circle", "cosface", "instance", "instance_id", "sphere"}
    for flag in PUBLISHED_FLAGS:
        torch.manual_seed(1)
        plain = losses.create_loss(flag, 4, 8)(features, labels)
        torch.manual_seed(1)
        found = losses.published_loss(flag, 4, 8)(features, labels)
        torch.testing.assert_close(found, plain / 16 if flag in divided else plain)


def test_gamma_of_the_instance_flag_is_free():
    features, labels = batch()
    assert losses.published_loss("instance", gamma=1.0)(features, labels) > losses.published_loss(
        "instance"
    )(features, labels)


def test_lists_of_losses_are_read_and_refused():
    assert plan.parse_losses("triplet:0.5, center:5e-4,circle") == {
        "triplet": 0.5,
        "center": 5e-4,
        "circle": 1.0,
    }
    with pytest.raises(UserError, match="Did you mean 'circle'"):
        plan.parse_losses("cirle:1")
    wrong_lists = [
        "triplet:half",
        "triplet:1:2",
        "triplet:-1",
        "triplet:inf",
        "triplet:nan",
        "triplet,triplet:2",
    ]
    for wrong in [*wrong_lists, "triplet:margin=1:margin=2"]:
        with pytest.raises(UserError, match="name:weight"):
            plan.parse_losses(wrong)


def test_settings_of_listed_losses_have_the_types_of_the_losses_own():
    text = (
        "triplet_hard:0.5:margin=0.2:soft=True,ranked:clusters=4:margin=1,"
        "multi_similarity:epsilon=None"
    )
    found = {
        name: (weight, plan.typed(name, given))
        for name, (weight, given) in plan.parse_terms(text).items()
    }
    assert found == {
        "triplet_hard": (0.5, {"margin": 0.2, "soft": True}),
        "ranked": (1.0, {"clusters": 4, "margin": 1.0}),
        "multi_similarity": (1.0, {"epsilon": None}),
    }
    for name, setting, message in (
        (
            "triplet",
            {"margim": "1"},
            "no setting 'margim'; it has epsilon, margin, mining, soft. Did you mean",
        ),
        (
            "triplet",
            {"margin": "wide"},
            "margin=wide: expected a number of 0 or above, such as 0.3",
        ),
        ("circle", {"gamma": "nan"}, "gamma=nan: expected a number"),
        ("circle", {"gamma": "inf"}, "gamma=inf: expected a number"),
        ("circle", {"gamma": "none"}, "gamma=none: expected a number"),
        ("triplet", {"soft": "1"}, "soft=1: expected true or false"),
        ("ranked", {"clusters": "2.5"}, "clusters=2.5: expected a whole number"),
        ("arcface", {"dim": "5"}, "no setting 'dim'"),
        ("triplet", {"margin": "-1"}, "margin=-1: expected a number of 0 or above"),
        ("triplet", {"mining": "hrd"}, "hrd"),
        ("verification", {"dropout": "1"}, "dropout"),
    ):
        with pytest.raises(UserError, match=message):
            plan.typed(name, setting)


def test_losses_of_pairs_need_images_of_one_identity():
    """The others compare an image with a class, with a teacher, or with every other image."""
    others = {
        "instance",
        "instance_id",
        "arcface",
        "cosface",
        "sphere",
        "center",
        "focal",
        *losses.LOSS_OF_HEAD.values(),
    }
    others |= {name for name, entry in losses.REGISTRY.items() if entry.loss.needs_teacher}
    assert {
        name for name, entry in losses.REGISTRY.items() if not entry.loss.needs_positives
    } == others


@pytest.mark.parametrize("head", ["cosine", "arcface", "circle"])
def test_every_head_has_its_loss_and_the_linear_one_cross_entropy(head):
    assert losses.LOSS_OF_HEAD["linear"] == "cross_entropy"
    assert losses.LOSS_OF_HEAD[head] == f"{head}_softmax"
    assert losses.create_loss(losses.LOSS_OF_HEAD[head]).takes == "logits"


@pytest.mark.parametrize("name", ["arcface", "cosface", "sphere", "verification"])
def test_parameters_train_and_travel_in_the_state(name):
    features, labels = batch()
    loss = (
        losses.published_loss(name, 4, 8)
        if name in losses.PUBLISHED_LOSSES
        else losses.create_loss(name, 4, 8)
    )
    before = [parameter.detach().clone() for parameter in loss.parameters()]
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    loss(features, labels).backward()
    optimizer.step()
    assert all(
        (parameter != old).any() for parameter, old in zip(loss.parameters(), before, strict=True)
    )
    other = (
        losses.published_loss(name, 4, 8)
        if name in losses.PUBLISHED_LOSSES
        else losses.create_loss(name, 4, 8)
    )
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(other.eval()(features, labels), loss.eval()(features, labels))


def test_features_are_normalised_except_where_their_length_counts():
    features, labels = batch()
    for name in losses.REGISTRY:
        torch.manual_seed(2)
        loss = losses.create_loss(name, 8, 8, taught_dim=8).eval()
        target = torch.eye(8)[labels] if loss.needs_teacher else labels
        same = torch.isclose(loss(features, target), loss(3 * features, target), rtol=1e-4)
        assert same == (loss.takes == "features" and name != "center"), name


def test_the_page_of_the_losses_states_the_defaults_of_each_loss_beside_its_name():
    page = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    described = []
    for section in re.split(r"^##+ ", page, flags=re.M)[1:]:
        heading, _, text = section.partition("\n")
        names = re.findall(r"`(\w+)`", heading)
        described += names
        defaults = {
            f"{setting.name}={setting.default}"
            for name in names
            for setting in inspect.signature(losses.REGISTRY[name].loss).parameters.values()
            if setting.name not in ("num_classes", "dim", "taught_dim")
        }
        assert set(re.findall(r"`(\w+=[\w.]+)`", text)) == defaults, names
    assert sorted(described) == sorted(losses.REGISTRY)
