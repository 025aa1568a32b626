"""The pixels of synthetic people belong to their PEOPLE_VERSION."""

import json

import numpy as np

from person_reid.synthetic.dataset import PEOPLE_VERSION
from tests.support import synthetic_pixels


def test_pixels_change_with_the_version_only():
    """A data set of a version can be drawn again.

    Its pixels may only differ by roundings of single ones.
    """
    known = json.loads(synthetic_pixels.FILE.read_text())
    assert known["version"] == PEOPLE_VERSION, (
        "PEOPLE_VERSION was raised: record what is drawn now, as synthetic_pixels.py says"
    )
    for camera, found in synthetic_pixels.look().items():
        for what, tenths in found.items():
            off = np.abs(np.subtract(tenths, known["pictures"][camera][what])).max()
            assert off <= 3, (
                f"camera {camera}: {what} are {off / 10} grey values off. "
                "Does PEOPLE_VERSION have to be raised?"
            )
