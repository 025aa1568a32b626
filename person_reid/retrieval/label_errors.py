"""Find images whose features contradict their identity, and propose what to do with each.

found = label_errors(features, labels, cameras)
found.proposal[i], found.identity[i], found.probability[i]     # "move", 42, 0.97

The evidence that image i shows person c is the similarity to the images of c, without i:

    e_ic = log( Σ_{j of c} exp((cos_ij − 1) / TEMPERATURE) / √n_c )

Features are first centred per camera. The doubt about a label is the evidence for the best other
person minus the evidence for the labelled person.

retrieval.belief gives the probability of a proposal to move an image. It learns from all labels how
reliable this evidence is: if a network cannot separate these people, no probability is high. The
other proposals compare a score with the distribution that it would have if the proposal were right.
The labels themselves show this distribution:

    proposal   score, and what it is compared with
    junk       negative evidence for the most similar person
               compared with negative evidence for a person drawn at random
    somebody   evidence of a distractor for the most similar person
               compared with the evidence of images of people for their own identity
    split      mean doubt about all images of a person by one camera, as the other cameras see them
               compared with the same for a label drawn at random
    merge      mean evidence between two people, across cameras, minus that of each for itself
               compared with the evidence of a person's cameras for one another, minus its mean

Let F(s) be the share of scores that are at least s, F₁(s) the same share of the compared scores,
and π, the share of right proposals, as large as F ≥ π F₁ allows. Of the N F(s) images with such a
score, N π F₁(s) are then expected to be right proposals. The probability is the slope of the second
number over the first, made monotone. It is multiplied by the share of images (junk), the p of the
image (somebody), or the share of groups (split, merge) whose own person the network finds first.
People can look alike without a label error: of look-alikes (merge, and split in favour of the best
other person), half as many as F allows are expected to be the same person.

Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021
(each label judged by other images); Scott, A Rate of Convergence for Mixture Proportion Estimation,
AISTATS 2015 (π).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import isotonic_regression

from person_reid.arrays import Labels
from person_reid.data.layout import DISTRACTOR, JUNK
from person_reid.errors import UserError
from person_reid.progress import progress
from person_reid.retrieval.belief import SUREST, Belief
from person_reid.retrieval.normalization import CameraNorm
from person_reid.retrieval.similarity import Features, Floats, chunks

TEMPERATURE = 0.06
# π is estimated from these shares of the highest compared scores.
TAILS = np.array([0.3, 0.5, 0.7, 0.9])
LOOK_ALIKES = np.float32(0.5)  # share of look-alikes that are expected to be the same person
LIKELY = 0.5  # an image with at least this probability of an error does not count for its group
# Share of people found first. A network below it cannot tell which labels are wrong.
LEAST_ACCURACY = 0.5
WEAK = 0.8  # share of people found first; below it, many errors stay hidden
NOBODY = -1  # in place of a person

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelErrors:
    """The most likely proposal for each of N images.

    proposal: (N,), a name from the module's table. identity: (N,), the identity that the proposal
    would give the image. probability: (N,), the probability that the proposal is right; 0 without
    evidence against the label. doubt: (N,), the doubt about the label.
    accuracy: the estimated share of images for which the features find the right person first,
    ignoring the image itself.
    """

    proposal: npt.NDArray[np.str_]
    identity: Labels
    probability: Floats
    doubt: Floats
    accuracy: float

    @property
    def order(self) -> Labels:
        """Return the indices of the images (N,), the most suspicious first."""
        return np.lexsort((-self.doubt, -self.probability))


class Proposal(NamedTuple):
    """Proposals of one kind: images (n,), their new identities (n,) and probabilities (n,)."""

    name: str
    images: Labels
    identity: npt.ArrayLike
    by: Floats


class Listed(NamedTuple):
    """The people in N images, according to the images' labels.

    names: (P,), the identities. people: (N,) in 0..P-1, NOBODY for a distractor. groups: (N,), see
    _evidence.
    """

    names: Labels
    people: Labels
    groups: Labels

    @property
    def known(self) -> Labels:
        """The indices of the images that show a known person."""
        return np.flatnonzero(self.people != NOBODY)


class Across(NamedTuple):
    """The evidence from other cameras for G groups of images, based on the groups' trusted images.

    evidence: (G, P). person: (G,), the person of each group. sizes: (G,), the number of its trusted
    images.
    """

    evidence: Floats
    person: Labels
    sizes: Labels
    belief: Belief


def label_errors(
    features: Features, labels: Labels, cameras: Labels, highest: int = 0
) -> LabelErrors:
    """Return the LabelErrors of N images, given features (N, D), labels (N,) and cameras (N,).

    Distractors do not count as similar to anybody. The features must not come from a network that
    was trained on these labels, because it would have memorised them.

    highest: the highest existing identity; new identities are higher.

    Raises UserError for junk, for fewer than two identities, or for features that cannot
    distinguish the people.
    """
    names = np.unique(labels[labels != DISTRACTOR])
    if JUNK in names:
        raise UserError("junk has no identity that could be wrong; leave it out.")
    if len(names) < 2:
        raise UserError(
            f"{len(names)} identity: a wrong label is another person's, so at least two are needed."
        )
    people = np.where(labels == DISTRACTOR, NOBODY, np.searchsorted(names, labels))
    moved, random = CameraNorm(features, cameras)(features, cameras), np.random.default_rng(0)
    evidence, others, groups = _evidence(moved, people, cameras)
    listed = Listed(names, people, groups)
    known, strangers = listed.known, np.flatnonzero(people == NOBODY)
    own, best, rival, anybody = _rivals(evidence[known], people[known], random)
    belief = Belief(evidence[known], people[known], random)
    moves = belief.wrong(evidence[known], people[known], rival)
    agreement = (own >= best)[np.isfinite(own)].mean() if np.isfinite(own).any() else np.nan
    # Where most labels contradict the features, the features are wrong and not the labels.
    check_accuracy(min(belief.accuracy, float(agreement)))

    doubt = _minus(best, own)
    likeliest = np.where(np.isfinite(doubt), -np.maximum(own, best), -np.inf)
    junk = _probability(likeliest, -anybody) * belief.accuracy
    proposals = [Proposal("move", known, names[rival], moves), Proposal("junk", known, JUNK, junk)]
    if len(strangers):
        proposals.append(_somebody(listed, evidence[strangers], own, belief))
    trusted = known[moves < LIKELY]
    across = _across(listed, others[trusted], trusted, random)
    if across.belief.accuracy >= LEAST_ACCURACY:  # False for NaN, when nothing is known
        proposals.append(_split(listed, across, max(highest, names[-1]) + 1))
        between = _means(others[trusted], people[trusted], len(names))
        proposals.append(_merge(listed, across, between, random))
    return _likeliest(labels, proposals, known, doubt, belief.accuracy)


def _likeliest(
    labels: Labels,
    proposals: Sequence[Proposal],
    known: Labels,
    doubt: Floats,
    accuracy: float,
) -> LabelErrors:
    """Return the most probable proposal for each image, or the first of equally probable ones.

    doubt: the doubt about the labels of the known images.
    """
    zeros = np.zeros(len(labels), np.float32)
    moves = np.full(len(labels), "move", "U8")
    found = LabelErrors(moves, labels.copy(), zeros, np.full_like(zeros, -np.inf), accuracy)
    found.doubt[known] = doubt
    for name, images, identity, by in proposals:
        by = np.minimum(by, np.float32(SUREST))
        better = by > found.probability[images]
        chosen = images[better]
        found.proposal[chosen], found.probability[chosen] = name, by[better]
        found.identity[chosen] = np.broadcast_to(identity, by.shape)[better]
    return found


def check_accuracy(accuracy: float) -> None:
    """Raise UserError if features of this accuracy cannot tell which labels are wrong.

    The log warns of a low accuracy.
    """
    words = (
        f"finds the right person first for about {100 * accuracy:.0f} % of these images, "
        "by these labels"
    )
    if np.isnan(accuracy):
        raise UserError(
            "everybody has one image, so nothing shows whose label is wrong. Expected people with "
            "several images, from more than one camera."
        )
    if accuracy < LEAST_ACCURACY:
        raise UserError(
            f"this network {words}. It cannot tell these people apart, "
            f"nor whose label is wrong; {100 * LEAST_ACCURACY:.0f} % are needed. "
            "Use another that was trained on people, but not on these."
        )
    if accuracy < WEAK:
        log.warning("This network %s: many wrong labels will not be listed.", words)


def _somebody(listed: Listed, evidence: Floats, own: Floats, belief: Belief) -> Proposal:
    """Propose people for distractors.

    evidence: the evidence of the distractors. own: the evidence of known images for their own
    person.
    """
    strangers = np.flatnonzero(listed.people == NOBODY)
    by = _probability(evidence.max(axis=1), own) * belief.shows(evidence).max(axis=1)
    return Proposal("somebody", strangers, listed.names[evidence.argmax(axis=1)], by)


def _across(listed: Listed, others: Floats, trusted: Labels, random: np.random.Generator) -> Across:
    """Return the evidence from other cameras for each group, based on the group's trusted images.

    others: (n, P), the evidence of the other cameras for the trusted images (n,).
    """
    groups, known = listed.groups, listed.known
    person = np.empty(groups.max() + 1, np.int64)
    person[groups[known]] = listed.people[known]
    evidence = _means(others, groups[trusted], len(person))
    sizes = np.bincount(groups[trusted], minlength=len(person))
    return Across(evidence, person, sizes, Belief(evidence, person, random))


def _split(listed: Listed, across: Across, first: int) -> Proposal:
    """Propose new people, numbered from `first`, for a person's images from one camera."""
    belief, known = across.belief, listed.known
    by = belief.wrong(across.evidence, across.person) * np.float32(belief.accuracy)
    by[across.sizes < 2] = 0  # a single image is moved
    fresh = np.empty(len(by), np.int64)
    fresh[np.argsort(-by, kind="stable")] = first + np.arange(len(by))
    groups = listed.groups[known]
    return Proposal("split", known, fresh[groups], by[groups])


def _merge(
    listed: Listed, across: Across, between: Floats, random: np.random.Generator
) -> Proposal:
    """Propose merging a person with another person who has more images.

    between: (P, P), the evidence of the images of one person for another.
    """
    known = listed.known
    people = listed.people[known]
    own = between.diagonal().copy()
    there = np.isfinite(own)
    usual = np.where(there, own, np.median(own[there]) if there.any() else np.inf)
    between = (_minus(between, usual[:, None]) + _minus(between, usual[:, None]).T) / np.float32(2)
    _, best, other, _ = _rivals(between, np.arange(len(own)), random)
    of_groups = across.evidence[np.arange(len(across.person)), across.person]
    by = _probability(best, _minus(of_groups, usual[across.person]))
    by *= across.belief.accuracy
    size, number = np.bincount(people), np.arange(len(own))
    smaller = (size < size[other]) | ((size == size[other]) & (number > other))
    by = LOOK_ALIKES * np.where((other[other] == number) & smaller, by, 0)
    return Proposal("merge", known, listed.names[other[people]], by[people])


def _evidence(features: Features, people: Labels, cameras: Labels) -> tuple[Floats, Floats, Labels]:
    """Return the evidence from all cameras, the evidence from the other cameras, and the groups.

    The evidence is (N, P); the group of each image is (N,).

    features: (N, D) of unit length. people: (N,) in 0..P-1, or NOBODY. A group contains all images
    of a person from one camera; groups are numbered by person, and NOBODY is in no group. The
    evidence for a person without another image is −∞.
    """
    voters = np.flatnonzero(people != NOBODY)
    voters = voters[np.argsort(people[voters], kind="stable")]
    seen_by = np.unique(cameras, return_inverse=True)[1]
    images = np.zeros((people.max() + 1, seen_by.max() + 1), np.float32)
    np.add.at(images, (people[voters], seen_by[voters]), 1)
    total, starts = images.sum(axis=1), np.searchsorted(people[voters], np.arange(len(images)))
    groups, column = np.full((2, len(people)), NOBODY)
    groups[voters] = np.unique(
        people[voters] * images.shape[1] + seen_by[voters], return_inverse=True
    )[1]
    column[voters] = np.arange(len(voters))
    evidence, others = np.empty((2, len(people), len(images)), np.float32)
    for start, stop in progress(chunks((len(people), len(voters))), desc="evidence"):
        rows = np.arange(start, stop)
        mine = rows[people[rows] != NOBODY]
        near = np.exp((features[rows] @ features[voters].T - 1) / np.float32(TEMPERATURE))
        near[mine - start, column[mine]] = 0
        count = np.tile(total, (len(rows), 1))
        count[mine - start, people[mine]] -= 1
        evidence[rows] = _log(np.add.reduceat(near, starts, axis=1), count)
        near *= seen_by[rows, None] != seen_by[voters]
        others[rows] = _log(
            np.add.reduceat(near, starts, axis=1), total - images[:, seen_by[rows]].T
        )
    return evidence, others, groups


def _log(sums: Floats, count: Floats) -> Floats:
    """Convert sums of similarities over `count` images to evidence; −∞ without images."""
    with np.errstate(divide="ignore"):
        return np.log(sums / np.sqrt(np.maximum(count, 1)))


def _minus(one: Floats, other: Floats) -> Floats:
    """Return one array of evidence minus another, with −∞ where either is missing."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(one) & np.isfinite(other), one - other, np.float32(-np.inf))


def _means(evidence: Floats, groups: Labels, count: int) -> Floats:
    """Return the mean of the evidence rows (N, P) for each group (N,) in 0..count-1.

    It is −∞ for a group without rows.
    """
    shape, size = (count, len(groups)), np.bincount(groups, minlength=count)[:, None]
    sums = (
        sparse.csr_array(
            (np.ones(len(groups), np.float32), (groups, np.arange(len(groups)))), shape
        )
        @ evidence
    )
    return np.asarray(np.where(size, sums / np.maximum(size, 1), -np.inf), np.float32)


def _rivals(
    evidence: Floats, own: Labels, random: np.random.Generator
) -> tuple[Floats, Floats, Labels, Floats]:
    """Return, from each row of evidence (N, P), the entries of its own person and of two rivals.

    Returns four arrays (N,): the evidence in the row's own column, the evidence in the best other
    column, that column, and the evidence in another column drawn at random.
    """
    rows, count = np.arange(len(evidence)), evidence.shape[1]
    others = evidence.copy()
    others[rows, own] = -np.inf
    rival = others.argmax(axis=1)
    drawn = (own + random.integers(1, count, len(own))) % count
    return evidence[rows, own], others[rows, rival], rival, evidence[rows, drawn]


def _probability(scores: Floats, *kinds: Floats) -> Floats:
    """Return the probability (N,) that each score belongs to one of the `kinds` of compared scores.

    The first kind is as frequent as the scores allow, the second LOOK_ALIKES times as frequent as
    they allow. Infinite scores and comparisons mean missing evidence and do not count.
    """
    probability, usable = np.zeros(len(scores), np.float32), np.flatnonzero(np.isfinite(scores))
    scores = scores[usable]
    order = np.argsort(-scores, kind="stable")
    right = np.zeros(len(scores))
    for number, kind in enumerate(kinds):
        compared = kind[np.isfinite(kind)]
        if len(scores) and len(compared):
            at = np.quantile(compared, 1 - TAILS)
            explained = np.interp(-at, -scores[order], right, left=0)
            found = _tail(scores, at)
            # A single score need not be among the highest.
            found = np.maximum(found, min(found[-1], 1 / len(scores)))
            share = max(0.0, float(((found - explained) / TAILS).min()))
            share *= float(LOOK_ALIKES) if number else 1
            right = right + share * _tail(compared, scores[order])
    slopes = (
        isotonic_regression(np.diff(right * len(scores), prepend=0), increasing=False).x
        if len(scores)
        else right
    )
    probability[usable[order]] = np.clip(slopes, 0, 1)  # the higher the score, the more probable
    return probability


def _tail(values: Floats, at: Floats) -> Floats:
    """Return, for each entry of `at`, the share of the values that are at least as high."""
    return np.asarray(1 - np.searchsorted(np.sort(values), at, "left") / len(values), np.float32)
