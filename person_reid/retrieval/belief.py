"""Turn evidence for who is in an image into probabilities, calibrated on unreliable labels.

    belief = Belief(evidence, labels, np.random.default_rng(0))
    belief.accuracy                         # 0.12: nearly useless; 0.95: a good network
    belief.wrong(evidence, labels, rivals)  # probability that each image shows its rival instead

With evidence e_ic that image i shows person c, p_ic = softmax_c(β e_ic). The label y of an image of
person c has one of three origins:

    right          y = c
    anybody        any other person, all equally probable
    look-alike     another person y, with probability p_iy / (1 − p_ic)

The probability of a label is therefore w₀ p_iy + w₁ (1 − p_iy) / (P − 1) + w₂ p_iy Σ_{c ≠ y} p_ic /
(1 − p_ic). For each β on a grid, expectation maximisation finds the shares w under which the given
labels are most likely; every result is the mean over the grid, each β weighted by that likelihood.

Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017 (β).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from person_reid.arrays import Labels
from person_reid.retrieval.similarity import Floats

SHARPNESS_TRIED = np.geomspace(0.1, 30, 40)  # the values of β that are tried
FITTED = 2000  # images for estimating β and w
# The maximum of w₁ and w₂: if p is flat, look-alikes are indistinguishable from right labels.
MOST_CONFUSED = (0.5, 0.1)
EM_STEPS = 50  # steps of expectation maximisation
SUREST = 0.99  # the highest probability of a proposal, however high the similarity
LEAST_PROBABILITY = 1e-9
Shares = npt.NDArray[np.float64]


class Belief:
    """The probabilities that N images show each of P people.

    evidence: (N, P), −∞ without evidence. labels: (N,) in 0..P-1. random: draws the images for the
        estimates.
    accuracy: the expected share of images in which the true person has the largest p; NaN if no
        image has evidence for its label.
    """

    def __init__(self, evidence: Floats, labels: Labels, random: np.random.Generator) -> None:
        judged = np.flatnonzero(np.isfinite(evidence[np.arange(len(labels)), labels]))
        if len(judged) > FITTED:
            judged = random.choice(judged, FITTED, replace=False)
        evidence, labels = evidence[judged], labels[judged]
        self._fits, self.accuracy = [(1.0, np.array([1.0, 0, 0]), 1.0)], float("nan")
        if len(judged):
            fits = [_fit(sharpness, evidence, labels) for sharpness in SHARPNESS_TRIED]
            most = max(likelihood for *_, likelihood in fits)
            self._fits = [
                (b, w, float(np.exp(likelihood - most)))
                for b, w, likelihood in fits
                if most - likelihood < 4
            ]
            self.accuracy = float(self.shows(evidence).max(axis=1).mean())

    def shows(self, evidence: Floats) -> Floats:
        """Return p (N, P), the probability that each image shows each person, ignoring labels."""
        return self._mean(lambda sharpness, _: _softmax(sharpness * evidence))

    def wrong(self, evidence: Floats, labels: Labels, rivals: Labels | None = None) -> Floats:
        """Return the probability (N,) that each image's label is wrong; it is 0 without evidence.

        rivals: (N,), people. If given, return the probability that the image shows its rival
        instead.
        """
        rows = np.arange(len(labels))

        def one(sharpness: float, shares: Shares) -> Floats:
            p = _softmax(sharpness * evidence)
            ways = _ways(p, labels)
            likely = ways @ shares
            if rivals is None:
                return 1 - ways[:, 0] * shares[0] / likely
            rival = p[rows, rivals]
            alike = p[rows, labels] / np.maximum(1 - rival, LEAST_PROBABILITY)
            return rival * (shares[1] / np.maximum(_count(p) - 1, 1) + shares[2] * alike) / likely

        known = np.isfinite(evidence[rows, labels])
        if rivals is not None:
            known &= np.isfinite(evidence[rows, rivals])
        return np.asarray(np.where(known, np.minimum(self._mean(one), SUREST), 0), np.float32)

    def _mean(self, one: Callable[[float, Shares], Floats]) -> Floats:
        """Return the mean of `one` over the values of β, weighted by the labels' likelihood."""
        total = sum(weight for *_, weight in self._fits)
        return np.asarray(sum(weight / total * one(b, w) for b, w, weight in self._fits))


def _fit(sharpness: float, evidence: Floats, labels: Labels) -> tuple[float, Shares, float]:
    """Return β, the shares w fitted to it, and the log-likelihood of the labels."""
    ways = _ways(_softmax(sharpness * evidence), labels)
    shares = _shares(ways)
    return float(sharpness), shares, float(np.log(ways @ shares).sum())


def _softmax(evidence: Floats) -> Floats:
    """Return exp(e) / Σ exp(e) of each row; 0 where the evidence is −∞."""
    highest = evidence.max(axis=1, keepdims=True)
    found = np.exp(evidence - np.where(np.isfinite(highest), highest, 0))
    return found / np.maximum(found.sum(axis=1, keepdims=True), np.finfo(found.dtype).tiny)


def _count(p: Floats) -> npt.NDArray[np.int64]:
    """Return the number of people that each image could show, (N,)."""
    return np.count_nonzero(p, axis=1)


def _ways(p: Floats, labels: Labels) -> Shares:
    """Return the probability (N, 3) of each label under each of its three possible origins.

    The origins are, in this order: right, anybody, look-alike.
    """
    own, odds = p[np.arange(len(labels)), labels], p / np.maximum(1 - p, LEAST_PROBABILITY)
    others = odds.sum(axis=1) - odds[np.arange(len(labels)), labels]
    ways = np.stack([own, (1 - own) / np.maximum(_count(p) - 1, 1), own * others], axis=1)
    return np.asarray(np.maximum(ways, 1e-12), np.float64)


def _shares(ways: Shares) -> Shares:
    """Return the shares w (3,) of the origins that make the labels most likely.

    w₁ and w₂ are at most MOST_CONFUSED.
    """
    shares = np.array([0.9, 0.05, 0.05])
    for _ in range(EM_STEPS):
        found = shares * ways
        wrong = np.minimum(
            (found / found.sum(axis=1, keepdims=True)).mean(axis=0)[1:], MOST_CONFUSED
        )
        shares = np.array([1 - wrong.sum(), *wrong])
    return shares
