"""Find a threshold whose rate of false matches is bounded, with a given confidence.

    bound = bounded_threshold(query, gallery, rate=1e-3, confidence=0.95)
    bound.threshold, bound.words()

A cell is a query image and a block of gallery images of other people. With a block of one image, it
is a pair; with a block of N random images, it is a search. A cell is a false match if its most
similar image reaches the threshold t. Cells share people; only the people are independent. The rate
R(t) of false matches is a U-statistic, so its variance v comes from omitting each person in turn
(the jackknife). With y false matches in m cells, y_i and m_i of them with person i, one of n:

    R = y / m,   R_i = (y - y_i) / (m - m_i),   v = (n - 1) / n * sum_i (R_i - mean R_i)^2
    U = (R + 2 max_i y_i / m) * exp(T * sqrt(v) / R)
    T: Student's quantile for the confidence, n - 1 degrees

R is close to lognormal, because few people look like many others; the bound U is therefore on the
logarithm. The added term stands for two more people like the most often confused one. The threshold
is the lowest t such that U is at most the given rate at t and above. It is too low only if U fails
at the one t whose true rate is the given rate (fixed-sequence testing). The bound is asymptotic in
the number of people; benchmarks/accuracy/bound.py measures how often it holds.

Arvesen: Jackknifing U-Statistics, Annals of Mathematical Statistics, 1969. Angelopoulos et al.:
Learn then Test, 2021.
"""

import math
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from person_reid.arrays import Integers
from person_reid.errors import UserError
from person_reid.retrieval.matches import are_strangers
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import CosineScores, chunks, run_chunks

FEWEST = 50  # the fewest people for which the bound was tested
THRESHOLD_STEPS = 10_000  # thresholds from cosine 0 to 1, as they are printed
BUDGET = 2**25  # bytes of scores at a time, per thread


@dataclass(frozen=True)
class Bound:
    """A threshold with a bound on its false-match rate.

    rate, confidence: as requested. people: the number of people in the test set. gallery_size: 1
    for pairs. ignore_cameras: whether pairs from one camera count, whose images often look more
    alike.
    """

    threshold: float
    rate: float
    confidence: float
    people: int
    gallery_size: int
    ignore_cameras: bool = False

    def __post_init__(self) -> None:
        shares = 0 < self.rate < 1 and 0 < self.confidence < 1
        if not (-1 <= self.threshold <= 1 and shares and self.people > 0 and self.gallery_size > 0):
            raise UserError(f"impossible bound: {self}")

    def __str__(self) -> str:
        return f"threshold {self.threshold:.4f} {self.words()}"

    def words(self) -> str:
        """Describe the bound."""
        pair = self.gallery_size == 1
        what = "pairs" if pair else f"searches among {self.gallery_size:,} images"
        where = "" if self.ignore_cameras else f" from {'different' if pair else 'other'} cameras"
        return (
            f"accepts at most {self.rate:g} of {what} of strangers{where} "
            f"(confidence {self.confidence:g}, {self.people:,} people)"
        )


def bounded_threshold(
    query: FeatureSet,
    gallery: FeatureSet,
    rate: float,
    confidence: float,
    gallery_size: int = 1,
    ignore_cameras: bool = False,
) -> Bound:
    """Return the lowest threshold that bounds the false-match rate by `rate` with `confidence`.

    gallery_size: 1 bounds the rate for pairs of images, N the rate for searches among N images of
    strangers. Junk and distractors are skipped because their identity is unknown; see people_of.
    ignore_cameras: also count pairs from one camera. Raises UserError for too few people; the
    message gives the number needed.
    """
    query, gallery = people_of(query, gallery)
    size = min(gallery_size, max(1, len(gallery)))
    counts, images = false_matches(query, gallery, size, ignore_cameras)
    # A larger gallery consists of several of this size: its rate is at most the sum of their rates.
    asked = rate * images / gallery_size
    step, highest = lowest_step(counts, asked, confidence)
    if step is None:
        people = len(counts)
        # The number of cells grows with the square of the number of people.
        needed = max(FEWEST, math.ceil(people * (highest / asked) ** 0.5))
        raise UserError(
            f"cannot guarantee a false-match rate of {rate:g} with so few people ({people:,}): "
            f"at least {needed:,} people are needed. Test on more people, or ask for a higher rate."
        )
    return Bound(
        threshold=step / THRESHOLD_STEPS,
        rate=rate,
        confidence=confidence,
        people=len(counts),
        gallery_size=gallery_size,
        ignore_cameras=ignore_cameras,
    )


def people_of(query: FeatureSet, gallery: FeatureSet) -> tuple[FeatureSet, FeatureSet]:
    """Return both sets without junk (label -1) and distractors (0).

    A query with the label 0 is kept as a person; results from other programs contain such queries.
    """
    nobody = [-1] if 0 in query.labels else [-1, 0]
    kept = (each.select(np.flatnonzero(~np.isin(each.labels, nobody))) for each in (query, gallery))
    return next(kept), next(kept)


def lowest_step(counts: Integers, rate: float, confidence: float) -> tuple[int | None, float]:
    """Return the lowest threshold whose bound is at most `rate`, and the bound at similarity 1.

    The threshold is an index from 0 to THRESHOLD_STEPS, or None if even the bound at the highest
    similarity exceeds the rate. counts: (n, THRESHOLD_STEPS + 1), from false_matches.
    """
    if len(counts) < FEWEST:
        return None, 0
    reached = counts.sum(axis=0)
    last = int(np.count_nonzero(reached)) - 1
    # At lower thresholds, R itself is above the rate.
    first = min(last, int(np.argmax(reached <= rate * reached[0])))
    bounds = upper_bounds(counts[:, [0, *range(first, last + 1)]], confidence)
    kept = np.cumprod(bounds[::-1] <= rate)[::-1]
    return first + int(kept.argmax()) if kept.any() else None, float(bounds[-1])


def false_matches(
    query: FeatureSet, gallery: FeatureSet, size: int = 1, ignore_cameras: bool = False
) -> tuple[Integers, float]:
    """Count the cells that involve each person and reach each threshold.

    Returns the counts (n, THRESHOLD_STEPS + 1), and the mean number of images in a cell.

    size: images per block; images of the query's person or camera do not count. A cell involves the
    person of its query and the person of the most similar image in its block. A similarity below 0
    counts as 0, so the first column holds all cells of a person.
    """
    query, gallery = people_of(query, gallery)
    # In the folder's order, a block would show only a few people.
    drawn = np.random.default_rng(0).permutation(len(gallery))
    gallery = gallery.select(drawn[: len(gallery) // size * size])
    labels = np.union1d(query.labels, gallery.labels)
    counts = np.zeros(len(labels) * (THRESHOLD_STEPS + 1), np.int64)
    images = np.zeros(2)  # counted images in all cells, and the number of cells
    lock = Lock()
    askers, others = (
        np.searchsorted(labels, each.labels) * (THRESHOLD_STEPS + 1) for each in (query, gallery)
    )
    scores = CosineScores(query.features, gallery.features)

    def count(start: int, stop: int) -> None:
        strangers = are_strangers(query, gallery, start, stop, ignore_cameras)
        chunk = np.where(strangers, scores(start, stop), np.float32(-np.inf)).reshape(-1, size)
        places = chunk.argmax(axis=1)
        best = chunk[np.arange(len(chunk)), places]
        some = np.flatnonzero(best > -np.inf)
        steps = np.rint(best[some].clip(0, 1) * THRESHOLD_STEPS).astype(np.int64)
        rows, blocks = np.divmod(some, len(gallery) // size)
        with lock:
            images[:] += np.array([strangers.sum(), len(some)])
            np.add.at(counts, askers[start + rows] + steps, 1)
            np.add.at(counts, others[blocks * size + places[some]] + steps, 1)

    run_chunks(count, chunks(scores.shape, BUDGET), "false matches")
    table = counts.reshape(-1, THRESHOLD_STEPS + 1)
    table = table[:, ::-1].cumsum(axis=1)[:, ::-1]
    return table[table[:, 0] > 0], float(images[0] / images[1]) if images[1] else 1.0


def upper_bounds(counts: Integers, confidence: float) -> npt.NDArray[np.float64]:
    """Return U (T,) from the cells of each person.

    The first column counts all cells, and each other column the cells that reach one of T
    thresholds.
    """
    people = len(counts)
    total = counts[:, :1]
    own = counts[:, 1:]
    cells, reached = total.sum() / 2, own.sum(axis=0) / 2  # each cell involves two people
    rates = reached / cells
    without = (reached - own) / np.maximum(cells - total, 1)
    deviations = np.sqrt((people - 1) * without.var(axis=0))
    quantile = max(0.0, float(stdtrit(people - 1, confidence)))
    return np.asarray((rates + 2 * own.max(axis=0) / cells) * np.exp(quantile * deviations / rates))
