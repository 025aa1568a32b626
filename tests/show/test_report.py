"""The sections of a report hold the numbers that they were given."""

import re

import numpy as np
import pytest

from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.thresholds import error_rates, pair_similarities
from person_reid.show import report
from person_reid.show.report import measured_rankings, thresholds_section
from tests.retrieval.test_bound import people
from tests.retrieval.test_thresholds import slow_pairs
from tests.show.test_curves import HISTORY
from tests.show.test_page import Checker


def test_beside_a_threshold_stands_the_share_of_own_images_that_it_accepts():
    sets = people(60)
    genuine = np.array(slow_pairs(*sets, ignore_cameras=False)[0])
    text = "\n".join(Checker(str(thresholds_section(measured_rankings(*sets)))).text)
    rules = error_rates(pair_similarities(*sets))["all_pairs"]["rules"]
    for name, rule in (("equal error rate", "eer"), ("1 stranger in 1,000", "1e-3")):
        found = re.search(rf"all pairs, {name}\s+(\S+)\s+(\S+)", text)
        assert found
        assert found[1] == f"{rules[rule]['threshold']:.3f}"
        assert float(found[2]) == pytest.approx(
            100 * np.mean(genuine >= rules[rule]["threshold"]), abs=0.5
        )


def test_the_map_of_one_person_counts_it_as_one():
    images = FeatureSet(np.eye(3), [4, 4, 4], [1, 2, 1])
    assert "The 1 person with the most images" in str(
        report.map_section(report.Tested(images, images, {}))
    )


def test_training_curves_stay_legible_on_a_phone():
    assert 'class="scroll wide"' in report.curves_section(HISTORY)
