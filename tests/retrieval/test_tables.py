"""Tables of runs: which of them are seeds of one network."""

import pytest

from person_reid.config.look import TableForm
from person_reid.retrieval.metric_tables import by_seed, written_table

APART = (
    ("resnet50", "resnet101"),
    ("osnet_x0_25", "osnet_x0_75"),
    ("market/osnet_x0_5", "market/osnet_x1_0"),
    ("vit_base_12", "vit_base_16"),
    ("stride1", "stride2"),
    ("epoch20", "epoch60"),
    ("net_4", "net_7"),  # counted from neither 0 nor 1
    ("net_0", "other_1"),
)
TOGETHER = {
    ("net_0", "net_1", "net_2"): "net",
    ("osnet_x0_25_0", "osnet_x0_25_1"): "osnet_x0_25",
    ("net.1", "net.2"): "net",
    ("net_seed4", "net_seed7"): "net",
    ("net_Seed-4_best", "net_Seed-7_best"): "net_best",
    ("net50/seed4", "net50/seed7"): "net50",
    ("0/pytorch_result", "1/pytorch_result"): "pytorch_result",
    ("net_1/epoch60", "net_2/epoch60"): "net/epoch60",
    ("seed0", "seed1"): "run",
}


@pytest.mark.parametrize("names", APART)
def test_numbers_that_belong_to_a_network_keep_it_apart(names):
    assert by_seed(dict.fromkeys(names, 0)) == {name: [0] for name in names}


@pytest.mark.parametrize(("names", "shared"), TOGETHER.items())
def test_seeds_are_together_under_the_name_that_they_share(names, shared):
    assert by_seed({name: place for place, name in enumerate(names)}) == {
        shared: list(range(len(names)))
    }


def test_a_run_without_a_seed_does_not_join_those_of_its_name():
    found = by_seed({"net": 0, "net_0": 1, "other": 2, "net_1": 3})
    assert found == {"net": [0], "net (seeds)": [1, 3], "other": [2]}


def test_a_run_that_is_called_like_a_formula_is_no_formula():
    text = written_table(
        ["run", "mAP"], [["=1+1", "80.2 ± 0.3"], ["-1", "-0.5 ± 0.1"]], TableForm(csv=True)
    )
    assert text.splitlines() == ["run,mAP,mAP deviation", "'=1+1,80.2,0.3", "-1,-0.5,0.1"]
