"""Figures in the prose of the pages: each is marked with what it is, and written from the results, never by hand.

    <!-- = networks -->49<!-- / -->                                             how many python model.py lists
    <!-- = market/osnet_x0_25_laptop single rank1 -->92.6<!-- / -->             the mean over the seeds, in per cent
    <!-- = market/osnet_x0_25_laptop single mAP ± -->81.13 ± 0.01<!-- / -->     and how far they lie from it at most
    <!-- = market/osnet_x0_25_laptop single mAP-step -->81.7<!-- / -->          the other definition
    <!-- = market/osnet_x0_25_laptop minutes 1 -->44<!-- / -->                  of training, the run of seed 1
    <!-- = market/osnet_x0_25_laptop epochs -->28<!-- / -->

The runs of a recipe that count are those like its last one: the same flags, and the same flags changed.
"""

import re
from statistics import mean

from person_reid.basics import UserError
from person_reid.models.registry import BACKBONES
from person_reid.reproduce.page import figure, spread

MARKED = re.compile(r"(<!-- = ([^\n]*?) -->)([^<]*)(<!-- / -->)")
ALIKE = ("flags", "test", "rerank", "changes")


def fill(text, records):
    """The text of a page with its marked figures as the records have them. Raises UserError for an unknown figure."""
    return MARKED.sub(lambda match: match[1] + value(match[2], records) + match[4], text)


def without_marks(text):
    """The text of a page with its figures, but not their marks."""
    return MARKED.sub(r"\3", text)


def value(key, records):
    """The figure that a mark names, as text."""
    if key == "networks":
        return str(len(BACKBONES))
    try:
        name, what, *rest = key.split()
        last = [record for record in records if record["recipe"] == name][-1]
        runs = [record for record in records if record["recipe"] == name and all(record[x] == last[x] for x in ALIKE)]
        if what == "epochs":
            return str(last["flags"]["total_epoch"])
        if what == "minutes":
            return f"{next(run['minutes'] for run in runs if [str(run['seed'])] == rest):.0f}"
        measure, _, definition = rest[0].partition("-")
        values = [figure(run["figures"][what], measure, definition or "trapezoidal") for run in runs]
    except (IndexError, KeyError, StopIteration, ValueError) as error:
        raise UserError(
            f"<!-- = {key} -->: no such figure in the results; reid/reproduce/figures.py shows the form."
        ) from error
    return spread(values) if rest[1:] == ["±"] else f"{mean(values):.1f}"
