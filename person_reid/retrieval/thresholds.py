"""Same person or not: similarities of genuine and impostor pairs, and the threshold between them.

pairs = pair_similarities(query, gallery)
curve = roc(pairs.genuine, pairs.impostor)
false_positives, true_positives, threshold = curve.at_fpr(1e-3)
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from person_reid.basics import UserError
from person_reid.retrieval.metrics import find_pairs
from person_reid.retrieval.similarity import CosineScores, chunks, run_chunks

BINS = 2**16  # of cosines in [-1, 1]: a threshold is known to 3e-5
FALSE_POSITIVE_RATES = {"1e-3": 1e-3, "1e-4": 1e-4}


@dataclass
class PairSimilarities:
    """Histograms, (BINS,) int64 over cosines in [-1, 1], of pairs of images from different cameras.

    genuine, impostor: all pairs of a query and a gallery image, of one identity and of two; hardest_genuine,
    hardest_impostor: of every query the least similar image of its identity, the most similar of another.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    hardest_genuine: np.ndarray
    hardest_impostor: np.ndarray


def pair_similarities(query, gallery, ignore_cameras=False):
    """PairSimilarities of two FeatureSets. Junk (label -1) counts as nobody; a distractor is an impostor.

    ignore_cameras: also pairs from one camera. Raises UserError where there is no genuine or no impostor pair.
    """
    matches, _ = find_pairs(query, gallery, ignore_cameras)
    scores = CosineScores(query.features, gallery.features)
    genuine = np.empty(len(matches[0]), np.float32)
    lowest, highest = np.full(len(query), np.inf, np.float32), np.full(len(query), -np.inf, np.float32)
    impostors = []

    def count(start, stop):
        chunk = scores(start, stop)
        part = slice(*np.searchsorted(matches[0], (start, stop)))
        rows, columns = matches[0][part], matches[1][part]
        genuine[part] = chunk[rows - start, columns]
        np.minimum.at(lowest, rows, genuine[part])
        unfit = (gallery.labels == -1) | (gallery.labels == query.labels[start:stop, None])
        if not ignore_cameras:
            unfit |= gallery.cameras == query.cameras[start:stop, None]
        unfit |= query.labels[start:stop, None] == -1
        chunk[unfit] = -np.inf
        highest[start:stop] = chunk.max(axis=1)
        impostors.append(histogram(chunk))

    run_chunks(count, chunks(scores.shape), "pairs")
    hardest = histogram(lowest[lowest < np.inf]), histogram(highest)
    found = PairSimilarities(histogram(genuine), np.sum(impostors, axis=0), *hardest)
    for name in ("genuine", "impostor"):
        if not getattr(found, name).sum():
            raise UserError(f"no {name} pair of images from different cameras; a threshold needs both kinds.")
    return found


def histogram(similarities):
    """(BINS,) int64 counts of cosines of any shape; those of -infinity are left out."""
    places = np.clip((similarities + 1) * (BINS / 2), -1, BINS - 1).astype(np.int32)  # rounding may exceed 1 a little
    return np.bincount(places.ravel() + 1, minlength=BINS + 1)[1:]


@dataclass
class Roc:
    """Rates at every threshold: a pair at least that similar is called the same person.

    thresholds, false_positives, true_positives: (BINS + 1,) each, thresholds ascending, rates in [0, 1].
    """

    thresholds: np.ndarray
    false_positives: np.ndarray
    true_positives: np.ndarray

    def at_fpr(self, rate):
        """(false positive rate, true positive rate, threshold) at the lowest threshold whose rate is at most `rate`."""
        return self._at(int(np.argmax(self.false_positives <= rate)))

    def equal_error(self):
        """(equal error rate, threshold): where strangers accepted and acquaintances refused are equally frequent."""
        index = int(np.argmin(np.abs(self.false_positives + self.true_positives - 1)))
        false_positives, true_positives, threshold = self._at(index)
        return (false_positives + 1 - true_positives) / 2, threshold

    def _at(self, index):
        return tuple(float(rates[index]) for rates in (self.false_positives, self.true_positives, self.thresholds))


def roc(genuine, impostor):
    """The Roc of two histograms (BINS,)."""

    def above(counts):
        return np.append(counts[::-1].cumsum()[::-1], 0) / counts.sum()

    return Roc(np.linspace(-1, 1, BINS + 1), above(impostor), above(genuine))


def summarize(pairs):
    """Rates and thresholds over all pairs and over the hardest ones, as plain numbers for a JSON file."""

    def rates(genuine, impostor):
        curve = roc(genuine, impostor)
        error, threshold = curve.equal_error()
        rules = {"eer": {"threshold": threshold, "error": error}}
        for name, rate in FALSE_POSITIVE_RATES.items():
            _, true_positives, threshold = curve.at_fpr(rate)
            rules[name] = {"threshold": threshold, "tpr": true_positives}
        return {"genuine": int(genuine.sum()), "impostor": int(impostor.sum()), "rules": rules}

    return {
        "all_pairs": rates(pairs.genuine, pairs.impostor),
        "hardest_per_query": rates(pairs.hardest_genuine, pairs.hardest_impostor),
    }


def load_threshold(text):
    """The threshold that `text` gives: a number, or a JSON file by tools/threshold.py. Raises UserError for neither."""
    try:
        return float(str(text))
    except ValueError:
        pass
    try:
        return float(json.loads(Path(text).read_text(encoding="utf-8"))["threshold"])
    except FileNotFoundError:
        raise UserError(f"--threshold {text}: no number and no file; python tools/threshold.py writes one.") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"--threshold {text}: no threshold in it; expected the file of tools/threshold.py.") from None
