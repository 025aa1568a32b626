"""Draw a map of features: images that the network finds similar lie close together.

Colour: identity; shape: camera.

images = choose(query, gallery, identities=10)
points, method = project(images.features)
draw_embedding(points, images.labels, images.cameras, "map.png", method)
"""

import logging
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.lines import Line2D

from person_reid.arrays import Array
from person_reid.config.look import own_or
from person_reid.data.layout import DISTRACTOR, JUNK
from person_reid.data.own.labels import NUMBERS, Words
from person_reid.errors import UserError
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.results import FeatureSet
from person_reid.show.label_placement import Label, label_points
from person_reid.show.style import (
    MANY,
    SCREEN,
    Look,
    legend_below,
    panel,
    panels,
    towards,
)
from person_reid.text import counted, printable

log = logging.getLogger(__name__)
MARKERS = "osD^vPX*<>hp"
PERPLEXITY = 12.0  # the effective number of neighbours, about half of a person's images
MOST_NAMED = 40  # people; with more, their numbers would cover the points
NEAREST = 3  # projected images between which project_all places another image


def choose(query: FeatureSet, gallery: FeatureSet, identities: int = 10) -> FeatureSet:
    """Return the images of the identities with the most images, from both sets.

    Distractors and junk do not count.
    """
    both = FeatureSet(
        np.concatenate([query.features, gallery.features]),
        np.concatenate([query.labels, gallery.labels]),
        np.concatenate([query.cameras, gallery.cameras]),
    )
    people, counts = np.unique(
        both.labels[~np.isin(both.labels, (JUNK, DISTRACTOR))], return_counts=True
    )
    most = people[np.argsort(-counts, kind="stable")[:identities]]
    return both.select(np.flatnonzero(np.isin(both.labels, most)))


def project(features: Array, method: str | None = None) -> tuple[Array, str]:
    """Project features (N, D) to the plane.

    Returns points (N, 2), which are reproducible, and the name of the method.

    method: "tsne" (van der Maaten, Hinton, JMLR 2008; needs scikit-learn) or "pca"; None uses t-SNE
    if it is installed, otherwise PCA. Raises UserError if t-SNE is requested without scikit-learn,
    or for fewer than three images.
    """
    if len(features) < 3:
        raise UserError(f"a map of {len(features)} images: expected at least three.")
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    name, reduce = PROJECTIONS[method or "tsne"]
    try:
        return reduce(unit), name
    except ImportError:
        if method:
            raise UserError(f"method={method}: pip install scikit-learn, or choose pca.") from None
    log.info("t-SNE needs scikit-learn (pip install scikit-learn); the map uses PCA.")
    return _pca(unit), "PCA"


def project_all(features: Array, most: int = 4000) -> tuple[Array, str]:
    """Project any number of features (N, D) to the plane, in about the time that `most` take.

    The method is as in `project`. A random sample of `most` images is projected. Every other image
    lies between the NEAREST images of the sample that are most similar to it.
    """
    if len(features) <= most:
        return project(features)
    sample = np.sort(np.random.default_rng(0).choice(len(features), most, replace=False))
    points, method = project(features[sample])
    found = ExactNeighbours().search(features, features[sample], NEAREST)
    # The image lies near the most similar image, if one stands out.
    weights = np.maximum(found.similarities, 1e-6)[..., None] ** 8
    placed = (points[found.indices] * weights).sum(axis=1) / weights.sum(axis=1)
    placed[sample] = points
    return placed, method


def _tsne(features: Array) -> Array:
    from sklearn.manifold import TSNE

    # For unit vectors, Euclidean distance and cosine similarity order pairs in the same way.
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    return np.asarray(
        TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)
    )


def _pca(features: Array) -> Array:
    centred = features - features.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    points = left[:, :2] * spread[:2]
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))


PROJECTIONS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "tsne": ("t-SNE", _tsne),
    "pca": ("PCA", _pca),
}


def draw_embedding(
    points: Array,
    labels: Array,
    cameras: Array,
    save: str | Path,
    method: str = "",
    look: Look = SCREEN,
    words: Words = NUMBERS,
) -> None:
    """Draw points (N, 2) with their labels and cameras, each (N,), in an image file.

    Up to MOST_NAMED identities have their number or name beside their points, in their colour.
    Colours repeat after ten identities, and shapes after twelve cameras.

    words: the names for the numbers of labels and cameras.
    """
    people = np.unique(labels)
    shapes = dict(zip(np.unique(cameras), MARKERS * len(cameras), strict=False))
    colours = {label: MANY[number % len(MANY)] for number, label in enumerate(people)}
    notes = [f"{method}: near means similar, axes have no unit"]
    if len(people) > len(MANY):
        notes.append(f"colours repeat after {len(MANY)} people")
    title = f"{counted(len(labels), 'image')} of {counted(len(people), 'person', 'people')}"
    with panels(save, 1, (6.4, 5.8), look) as (figure, [axes]):
        if not look.no_title:
            size = matplotlib.rcParams["axes.titlesize"]
            figure.suptitle(title, x=0.02, ha="left", weight="bold", size=size)
        panel(axes, "", "\n".join(notes))
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.margins(0.1)
        size = np.clip(20_000 / len(points), 9, 36) * (0.4 if look.width else 1)  # area of a point
        for label, colour in colours.items():
            for camera, shape in shapes.items():
                here = points[(labels == label) & (cameras == camera)]
                axes.scatter(
                    here[:, 0],
                    here[:, 1],
                    s=size,
                    marker=shape,
                    color=colour,
                    linewidth=0.3,
                    edgecolor=axes.get_facecolor(),
                )
        keys = [
            Line2D(
                [],
                [],
                marker=shape,
                linestyle="",
                color="#94a3b8",
                label=printable(f"camera {words.camera(int(camera))}"),
            )
            for camera, shape in shapes.items()
        ]
        legend_below(figure, keys)
        if len(people) <= MOST_NAMED:
            names = own_or([printable(words.identity(int(label))) for label in people], look.labels)
            ink = axes.xaxis.label.get_color()
            named = [
                Label(name, label_place(points[labels == label]), towards(ink, colour))
                for name, (label, colour) in zip(names, colours.items(), strict=True)
            ]
            label_points(figure, axes, named, points, weight="bold")


def label_place(cloud: Array) -> tuple[float, float]:
    """Return where to write the number of an identity whose points are `cloud` (N, 2).

    The place is above the half of the points that is nearest to the medoid. The mean of a cloud in
    two pieces would lie between them, among other identities.
    """
    distances = np.linalg.norm(cloud[:, None] - cloud[None], axis=2)
    centre = np.median(distances, axis=1).argmin()
    near = cloud[np.argsort(distances[centre], kind="stable")[: (len(cloud) + 1) // 2]]
    return near[:, 0].mean(), near[:, 1].max()
