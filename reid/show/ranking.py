"""A query beside its nearest gallery images, framed green where the identity is right and red where it is wrong.

query, gallery = load_result("pytorch_result.mat", paths=True)
matches, _ = nearest(query, gallery, 777)
draw_ranking(query.paths[777], located(matches, gallery), "show.png", "Query 777")
"""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from matplotlib.figure import Figure

from reid.data.bank import load_image
from reid.data.layout import JUNK, read_split
from reid.retrieval.similarity import CosineScores
from utils import UserError, atomic_write

RIGHT, WRONG, ASKED, INK = "#16a34a", "#dc2626", "#334155", "#1e293b"
PUBLISHED_TEST_DIR = "../Market/pytorch"
COLUMNS = 10  # results in a row of the picture
SHOWN = (256, 128)  # height and width in pixels to which every image is brought


@dataclass(frozen=True)
class Match:
    """One gallery image of a ranking. index: its position in the gallery; similarity: the cosine, -1 to 1.

    accepted: whether it is similar enough to be taken for the same person at all.
    """

    index: int
    label: int
    camera: int
    similarity: float
    right: bool
    path: Path | None = None
    accepted: bool = True


def nearest(query, gallery, index, top=10, threshold=-1.0):
    """The gallery images nearest to one query, junk left out as the metric leaves it out, equal ones by index.

    query, gallery: FeatureSets; index: which query, from 0; threshold: the least similarity accepted.
    Returns (at most `top` Matches, nearest first; how many right images the gallery holds). Raises UserError for an
    index out of range, and where all the gallery is junk.
    """
    if not 0 <= index < len(query):
        raise UserError(f"--query_index {index}: expected 0 to {len(query) - 1}, there are {len(query)} queries.")
    if top < 1:
        raise UserError(f"--top {top}: expected 1 or more.")
    label, camera = query.labels[index], query.cameras[index]
    same = (gallery.labels == label) & (label != JUNK)
    valid = np.flatnonzero((gallery.labels != JUNK) & ~(same & (gallery.cameras == camera)))
    if not len(valid):
        raise UserError(f"query {index}: the whole gallery is junk to it, there is nothing to rank.")
    scores = CosineScores(query.features[index : index + 1], gallery.features)(0, 1)[0]
    order = valid[np.argsort(-scores[valid], kind="stable")[:top]]
    matches = [
        Match(
            int(i),
            int(gallery.labels[i]),
            int(gallery.cameras[i]),
            float(s),
            bool(same[i]),
            accepted=bool(s >= threshold),
        )
        for i, s in zip(order, scores[order], strict=True)
    ]
    return matches, int(same[valid].sum())


def located(matches, gallery, test_dir=None):
    """The Matches with the paths of their images. gallery, test_dir: see paths_of and find_image."""
    paths = paths_of(gallery, "gallery", test_dir)
    return [replace(match, path=find_image(paths[match.index], test_dir)) for match in matches]


def paths_of(images, split, test_dir=None):
    """The names of a FeatureSet's images. Result files of the published code do not hold them.

    Those are in the order in which torchvision's ImageFolder lists <test_dir>/<split>. Raises UserError where that
    folder holds other images.
    """
    if images.paths is not None:
        return images.paths
    folder = Path(test_dir or PUBLISHED_TEST_DIR)
    found = read_split(folder, split)
    if not (np.array_equal(found.labels, images.labels) and np.array_equal(found.cameras, images.cameras)):
        raise UserError(
            f"{folder / split}: holds {len(found)} images, not the {len(images)} of the result file, which does not "
            "name them. Pass the folder above them as --test_dir, or extract the features again with test.py."
        )
    return [path.as_posix() for path in found.paths]


def find_image(path, test_dir=None):
    """Where an image of a result file is now: below `test_dir` if that is given and has it, else at its old place.

    path: as in the file, ending in <split>/<identity>/<name>. Raises UserError where it is in neither.
    """
    places = [Path(path)]
    if test_dir:
        places.insert(0, Path(test_dir, *PurePosixPath(path).parts[-3:]))
    for place in places:
        if place.is_file():
            return place
    looked = " nor ".join(str(place) for place in places)
    raise UserError(f"{looked}: no such image. If they moved: --test_dir FOLDER, the one with query and gallery in it.")


def describe_ranking(query, index, query_path, matches, total):
    """The lines that say in text what the picture shows. total: how many right images the gallery holds."""
    yield f"query {index}: {headline(query, index)}  {query_path}"
    for rank, match in enumerate(matches, 1):
        verdict = ("right" if match.right else "wrong") + ("" if match.accepted else ", rejected")
        yield f"{rank:4d}  {verdict}  {match.label:04d}  camera {match.camera}  {match.similarity:.4f}  {match.path}"
    yield summary(matches, total)


def headline(query, index):
    """`identity 0855, camera 3`."""
    return f"identity {query.labels[index]:04d}, camera {query.cameras[index]}"


def summary(matches, total):
    """`7 of the first 10 are right; the gallery holds 12 right ones`."""
    right, rejected = sum(match.right for match in matches), sum(not match.accepted for match in matches)
    text = f"{right} of the first {len(matches)} are right; the gallery holds {total} right ones"
    return f"{text}; {rejected} are below the threshold" if rejected else text


def draw_ranking(query_path, matches, save, title, subtitle=""):
    """Draw a query and its Matches, which have paths, ten a row, to an image file.

    Raises UserError for an image that cannot be read and for a file type that matplotlib cannot write.
    """
    save = Path(save)
    file_type = save.suffix.lower().lstrip(".")
    rows = -(-len(matches) // COLUMNS)
    columns = min(len(matches), COLUMNS)
    size = (1.28 * max(columns + 1.25, 6), 3.0 * rows + 0.85)
    figure = Figure(figsize=size, dpi=130, facecolor="white")
    known = figure.canvas.get_supported_filetypes()
    if file_type not in known:
        raise UserError(f"--save {save}: expected a file name that ends in one of .{', .'.join(sorted(known))}.")
    height, left = figure.get_figheight(), 0.15 / figure.get_figwidth()
    figure.text(left, 1 - 0.14 / height, title, fontsize=16, fontweight="bold", color=INK, va="top")
    figure.text(left, 1 - 0.46 / height, subtitle, fontsize=11.5, color="#64748b", va="top")
    grid = figure.add_gridspec(
        rows, columns + 2, width_ratios=[1.0, 0.14, *[1.0] * columns], wspace=0.12, hspace=0.3,
        left=left, right=1 - left, top=1 - 1.02 / height, bottom=0.48 / height,
    )  # fmt: skip
    draw_image(figure.add_subplot(grid[0, 0]), query_path, ASKED, "query", "")
    for position, match in enumerate(matches):
        axes = figure.add_subplot(grid[position // COLUMNS, position % COLUMNS + 2])
        mark = f"{'✓' if match.right else '✗'} {match.label:04d} · c{match.camera}\n{match.similarity:.3f}"
        mark += "" if match.accepted else " rejected"
        draw_image(axes, match.path, RIGHT if match.right else WRONG, str(position + 1), mark, faint=not match.accepted)
    with atomic_write(save) as temporary:
        figure.savefig(temporary, format=file_type)


def draw_image(axes, path, colour, above, below, faint=False):
    """One framed image with a word above and a caption below it; faint: the image nearly fades away."""
    try:
        pixels = load_image(path, *SHOWN)
    except Exception as error:  # decoders fail in many ways, and every failure means the same here
        raise UserError(f"{path}: not a readable image ({error}).") from None
    axes.imshow(pixels, aspect="auto", interpolation="lanczos", alpha=0.3 if faint else 1)
    axes.set(xticks=[], yticks=[], box_aspect=SHOWN[0] / SHOWN[1])
    axes.set_title(above, fontsize=11, color=ASKED, pad=5)
    axes.set_xlabel(below, fontsize=11, color=colour, labelpad=6, linespacing=1.3)
    for spine in axes.spines.values():
        spine.set(edgecolor=colour, linewidth=4.5)
