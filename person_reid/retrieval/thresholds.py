"""Similarities of genuine and impostor pairs of images, and the threshold between them.

pairs = pair_similarities(query, gallery)
curve = roc(pairs.genuine, pairs.impostor)
false_positives, true_positives, threshold = curve.at_fpr(1e-3)
"""

import logging
import math
import operator
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from person_reid.config.tested import CONFIG_FILE
from person_reid.errors import UserError
from person_reid.files import SETTINGS_BYTES, content_of
from person_reid.retrieval.bound import THRESHOLD_STEPS, Bound
from person_reid.retrieval.matches import are_strangers, find_pairs
from person_reid.retrieval.results import FEATURE_FLAGS, PLAIN, FeatureSet
from person_reid.retrieval.similarity import CosineScores, chunks, run_chunks
from person_reid.text import as_command, parse_json

log = logging.getLogger(__name__)
BINS = 2 * THRESHOLD_STEPS + 1  # cosines in [-1, 1], one per printed similarity
Counts = npt.NDArray[np.int64]  # a histogram (BINS,)
Rates = npt.NDArray[np.float64]  # one for each threshold (BINS + 1,)
DIGITS = 4  # decimals of printed similarities and thresholds
ROUNDING = 1e-6  # rounding error of a threshold in float32
FALSE_POSITIVE_RATES = {"1e-3": 1e-3, "1e-4": 1e-4}
COMPARED_WORDS = {  # the kinds of scores with which a threshold may be compared
    "pair": "two images",
    "person": "an image with all images of a person",
    "track": "two whole tracks",
}
MEASURED_ON = "measured_on"  # the key of the network in a file of tools/threshold.py


@dataclass
class PairSimilarities:
    """Histograms, (BINS,) int64 over cosines in [-1, 1], of pairs of images from different cameras.

    genuine, impostor: all pairs of a query and a gallery image with the same identity, and all
        pairs with different identities.
    hardest_genuine, hardest_impostor: for each query, its least similar image of the same identity,
        and its most similar image of another identity.
    """

    genuine: Counts
    impostor: Counts
    hardest_genuine: Counts
    hardest_impostor: Counts


def pair_similarities(
    query: FeatureSet, gallery: FeatureSet, ignore_cameras: bool = False
) -> PairSimilarities:
    """Return the PairSimilarities of two FeatureSets.

    Junk (label -1) is skipped; distractors count as impostors.

    ignore_cameras: also count pairs from one camera. Raises UserError if there is no genuine pair
    or no impostor pair.
    """
    matches, _ = find_pairs(query, gallery, ignore_cameras)
    scores = CosineScores(query.features, gallery.features)
    genuine = np.empty(len(matches[0]), np.float32)
    lowest = np.full(len(query), np.inf, np.float32)
    highest = np.full(len(query), -np.inf, np.float32)
    impostors = np.zeros(BINS, np.int64)
    lock = Lock()

    def count(start: int, stop: int) -> None:
        chunk = scores(start, stop)
        part = slice(*np.searchsorted(matches[0], (start, stop)))
        rows, columns = matches[0][part], matches[1][part]
        genuine[part] = chunk[rows - start, columns]
        np.minimum.at(lowest, rows, genuine[part])
        chunk[~are_strangers(query, gallery, start, stop, ignore_cameras)] = -np.inf
        highest[start:stop] = chunk.max(axis=1)
        counts = histogram(chunk)
        with lock:
            impostors[:] += counts

    run_chunks(count, chunks(scores.shape), "pairs")
    hardest = histogram(lowest[lowest < np.inf]), histogram(highest)
    found = PairSimilarities(histogram(genuine), impostors, *hardest)
    for name in ("genuine", "impostor"):
        if not getattr(found, name).sum():
            raise UserError(
                f"no {name} pair of images from different cameras; a threshold needs both kinds."
            )
    return found


def histogram(similarities: npt.NDArray[Any]) -> Counts:
    """Return the counts (BINS,) of the cosines, rounded as printed, in an array of any shape.

    -infinity is skipped.
    """
    # Rounding may put a similarity slightly above 1.
    places = np.clip(
        np.rint(similarities * THRESHOLD_STEPS) + THRESHOLD_STEPS, -1, BINS - 1
    ).astype(np.int32)
    return np.bincount(places.ravel() + 1, minlength=BINS + 1)[1:]


class Roc(NamedTuple):
    """Error rates at every threshold; `accepts` decides whether a pair counts as one person.

    The last threshold is above all cosines.

    thresholds, false_positives, true_positives: (BINS + 1,) each, thresholds ascending, rates in
    [0, 1].
    """

    thresholds: Rates
    false_positives: Rates
    true_positives: Rates

    def at_fpr(self, rate: float) -> tuple[float, float, float]:
        """Return the first point on the curve with a false positive rate of at most `rate`.

        Returns (false positive rate, true positive rate, threshold).
        """
        return self._at(int(np.argmax(self.false_positives <= rate)))

    def equal_error(self) -> tuple[float, float]:
        """Return (equal error rate, threshold).

        At this threshold, the share of accepted impostors equals the share of rejected genuine
        pairs.
        """
        index = int(np.argmin(np.abs(self.false_positives + self.true_positives - 1)))
        false_positives, true_positives, threshold = self._at(index)
        return (false_positives + 1 - true_positives) / 2, threshold

    def _at(self, index: int) -> tuple[float, float, float]:
        return (
            float(self.false_positives[index]),
            float(self.true_positives[index]),
            float(self.thresholds[index]),
        )


def roc(genuine: Counts, impostor: Counts) -> Roc:
    """Return the Roc of two histograms (BINS,)."""
    thresholds = np.arange(-THRESHOLD_STEPS, THRESHOLD_STEPS + 2) / THRESHOLD_STEPS
    strangers, matches = map(accepted_pairs, (impostor, genuine))
    return Roc(thresholds, strangers / strangers[0], matches / matches[0])


def accepted_pairs(counts: Counts) -> Counts:
    """Return how many pairs in a histogram (BINS,) pass each of the BINS + 1 thresholds."""
    return np.append(counts[::-1].cumsum()[::-1], 0)


def error_rates(
    pairs: PairSimilarities, false_positive_rates: Mapping[str, float] = FALSE_POSITIVE_RATES
) -> dict[str, dict[str, Any]]:
    """Return error rates and thresholds for all pairs and for the hardest pairs.

    They are plain numbers for a JSON file.
    false_positive_rates: {name: rate} of thresholds to return besides the threshold with equal
    errors.
    """

    def rates(genuine: Counts, impostor: Counts) -> dict[str, Any]:
        curve = roc(genuine, impostor)
        error, threshold = curve.equal_error()
        rules = {"eer": {"threshold": threshold, "error": error}}
        for name, rate in false_positive_rates.items():
            _, true_positives, threshold = curve.at_fpr(rate)
            rules[name] = {"threshold": threshold, "tpr": true_positives}
        return {"genuine": int(genuine.sum()), "impostor": int(impostor.sum()), "rules": rules}

    return {
        "all_pairs": rates(pairs.genuine, pairs.impostor),
        "hardest_per_query": rates(pairs.hardest_genuine, pairs.hardest_impostor),
    }


def accepts(threshold: float, similarity: float) -> bool:
    """Return whether a similarity reaches a threshold, exactly or as printed.

    The cosine of two identical images is 1 up to rounding, and therefore reaches the threshold 1.
    """
    similarity = float(similarity)
    return max(similarity, round(similarity, DIGITS)) >= threshold - ROUNDING


def judged(
    threshold: float | None, similarities: Iterable[float]
) -> tuple[bool | None, list[bool | None]]:
    """Return whether any similarity reaches a threshold, and which similarities do.

    Without a threshold, all of these are None.
    """
    if threshold is None:
        return None, [None for _ in similarities]
    accepted = [accepts(threshold, similarity) for similarity in similarities]
    return any(accepted), [*accepted]


def load_threshold(
    text: str | Path,
    network: str = "",
    flags: str = "",
    *,
    score: str = "pair",
    camera_norm: bool = False,
) -> float:
    """Read a threshold from a number, a file from tools/threshold.py or a save_pretrained folder.

    network, flags: the network and flags of the features, from their result file, or "" if unknown.
    score: what is compared with the threshold, a key of COMPARED_WORDS. camera_norm: whether the
    features of every camera have the same mean. These are not checked if the threshold is a number.
    The log warns if the threshold was measured on another network. Raises UserError if it was
    measured on features with other flags or for another score, or if the text is not a threshold.
    """
    with suppress(ValueError):
        if -1 <= (number := float(str(text))) <= 1:
            return number
        raise UserError(f"threshold={text}: expected a cosine, -1 to 1, such as 0.7.")
    try:
        report = _report(text)
        threshold = _number(report["threshold"])
        measured, extracted = report.get(MEASURED_ON), report.get(FEATURE_FLAGS)
        kind, moved = report.get("for", "pair"), report.get("camera_norm", False)
    except FileNotFoundError:
        raise UserError(
            f"threshold={text}: neither a number nor a file; "
            f"{as_command('tools/threshold.py')} writes one."
        ) from None
    except (ValueError, KeyError, TypeError, OverflowError):
        raise UserError(
            f"threshold={text}: no threshold in it; expected a file from tools/threshold.py."
        ) from None
    if not -1 <= threshold <= 1:
        raise UserError(
            f"threshold={text}: the threshold in it is {threshold:g}; expected a cosine, -1 to 1."
        )
    if (kind, moved) != (score, camera_norm):
        raise UserError(
            f"threshold={text}: measured for {_score_words(kind, moved)}, and here it is "
            f"compared with {_score_words(score, camera_norm)}. Measure that one: python "
            f"tools/threshold.py --for {score}{' --camera_norm' * camera_norm}"
        )
    if flags and extracted and extracted != flags:
        found, here = (
            f"{as_command('test.py')} {words}".removesuffix(f" {PLAIN}")
            for words in (extracted, flags)
        )
        raise UserError(
            f"threshold={text}: measured on features of {found!r}, "
            f"and these are like those of {here!r}. Extract features that way, then measure it: "
            f"{as_command('tools/threshold.py')}"
        )
    if network and measured and measured not in (network, network.rpartition("/")[2]):
        log.warning(f"--threshold {text} was measured on {measured!r}, and this is {network!r}.")
    return threshold


def _score_words(score: Any, camera_norm: Any) -> str:
    """Describe what a score compares."""
    compared = COMPARED_WORDS.get(score) if isinstance(score, str) else None
    return f"{compared or repr(score)}{' by --camera_norm' if camera_norm else ''}"


def holds_threshold(path: str | Path) -> bool:
    """Return whether a file is empty or was written by tools/threshold.py."""
    return not Path(path).stat().st_size or "threshold" in _facts(path)


def measured_flags(text: str | Path) -> str:
    """Return the flags with which test.py computed the features that a threshold was measured on.

    Returns "" if they are unknown.
    """
    found = _facts(text).get(FEATURE_FLAGS)
    return found if isinstance(found, str) and found != PLAIN else ""


def load_bound(text: str | Path | None) -> Bound | None:
    """Read the bound of the threshold that load_threshold reads from `text`.

    Returns None if there is no bound, or if the bound belongs to another threshold. Raises
    UserError for a malformed bound.
    """
    report = {} if text is None else _facts(text)
    if (said := report.get("promise")) is None:
        return None
    try:
        threshold, rate, confidence = (
            _number(said[name]) for name in ("threshold", "rate", "confidence")
        )
        people, size = (operator.index(_number(said[name])) for name in ("people", "gallery_size"))
        found = Bound(
            threshold=threshold,
            rate=rate,
            confidence=confidence,
            people=people,
            gallery_size=size,
            ignore_cameras=said.get("ignore_cameras") is True,
        )
    except (UserError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{text}: the bound in it is damaged ({error}). "
            "Measure it again with tools/threshold.py."
        ) from None
    return found if threshold == report["threshold"] else None


def with_bound(text: str | Path) -> str:
    """Return text that gives a threshold's origin and, if it has one, its bound."""
    bound = load_bound(text)
    return f"{text}: {bound.words()}" if bound else str(text)


def _facts(text: str | Path) -> dict[str, Any]:
    """Return the result of _report, or {} if the report cannot be read."""
    try:
        report = _report(text)
    except (OSError, ValueError, TypeError):
        return {}
    return report if isinstance(report, dict) else {}


def _report(text: str | Path) -> Any:
    """Return the JSON in a file from tools/threshold.py or in a folder from save_pretrained."""
    path = Path(text)
    path = path / CONFIG_FILE if path.is_dir() else path
    report = parse_json(content_of(path, SETTINGS_BYTES))
    if path.name != CONFIG_FILE:
        return report
    # The threshold of a folder is of its own network; save_pretrained rejects other flags' ones.
    return {FEATURE_FLAGS: PLAIN, MEASURED_ON: path.resolve().parent.name} | report


def _number(value: Any) -> Any:
    """Return a value after checking that it is a finite number.

    Raises OverflowError for infinity, NaN and too large numbers, and TypeError for anything else.
    """
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is not a number")
    if not math.isfinite(value):
        raise OverflowError(f"{value} is not finite")
    return value
