"""Write the explorer, a folder for browsing images, rankings and thresholds offline.

    views = describe_result(query, gallery, [rank("cosine", query, gallery)])
    write_explorer("look", images_of(query, gallery), "market.mat", views)

Browsers do not let a page on disk read other files, except as scripts and images. Numbers are
therefore in scripts, data/*.js, which pass base64 or JSON to a function of the page
(templates/explorer/data.js), and photographs are tiles of large JPEG files, sheets/*.jpg.
"""

import base64
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.data.layout import DISTRACTOR
from person_reid.errors import UserError
from person_reid.files import check_folder, check_target, whole_folder, write_text
from person_reid.page_files import page_sources
from person_reid.retrieval.bound import THRESHOLD_STEPS
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.thresholds import BINS, accepted_pairs, error_rates, pair_similarities
from person_reid.show.embedding import project_all
from person_reid.show.explorer_images import (
    JUNK_NAME,
    NO_NAME,
    SPRITE_COLUMNS,
    SPRITE_ROWS,
    ExplorerImages,
    content_key,
    person_name,
    write_sprites,
)
from person_reid.show.explorer_views import LISTED, RankedGallery
from person_reid.show.page import TEMPLATES, data_uri
from person_reid.show.ranking import Folder
from person_reid.show.style import MANY
from person_reid.text import printable

EXPLORER_MARK = ".person-reid-explorer"  # a file that marks the folder of an explorer
PIECE = 2048  # features per script, so that decoding one never blocks the page for long
INT8_LEVELS = 127  # the highest int8
TYPES = {  # {NumPy's type: JavaScript's}
    "f4": "Float32Array", "f8": "Float64Array", "i1": "Int8Array", "i4": "Int32Array",
    "u2": "Uint16Array", "u4": "Uint32Array",
}  # fmt: skip
LINKED_FILES = re.compile(
    r'<link rel="stylesheet" href="([\w./]+)">|<script src="([\w./]+)"></script>'
)
SHEET_ADDRESS = re.compile(r'url\("(sheets/\d+\.jpg)"\)')
ONE_FILE = (".html", ".htm")
MOST_PAGE_BYTES = 25e6  # bytes of a page in one file, which mail programs still accept
THUMBNAIL_BYTES = 1400  # per small photograph


def write_explorer(
    save: str | Path,
    images: ExplorerImages,
    title: str,
    views: Mapping[str, Any] | None = None,
    test_dir: Folder = None,
) -> list[str]:
    """Write the folder `save`, or a single file if `save` ends in .html, completely or not at all.

    An older explorer is replaced.

    title: the page's title.
    views: the result of describe_result, without which the page shows no metrics; under "labels",
    the result of describe_proposals.
    test_dir: the folder that holds query and gallery, if the images have moved.

    Returns a line for each image that cannot be read and becomes a grey tile. Raises UserError if
    no image can be read, if `save` is a folder with other content, or if there are too many images
    for one file.
    """
    views = {"rankings": [{"name": printable(title), "width": LISTED}]} | dict(views or {})
    if is_one_file(save):
        check_page_size(save, *images.features.shape)
    target = _one_file(save) if is_one_file(save) else whole_folder(save, EXPLORER_MARK)
    with target as folder:
        missing = write_sprites(images.paths, folder / "sheets", test_dir)
        (folder / "data").mkdir()
        pieces = write_features(images.features, folder / "data")
        points, method = project_all(images.features)
        about = {
            **describe_images(images),
            "pieces": pieces,
            "piece": PIECE,
            "points": packed_array(to_square(points)),
            "method": method,
        }
        for name, content in {"images": about, **views}.items():
            write_script(folder / "data" / f"{name}.js", name, content)
        write_explorer_page(
            folder,
            title,
            ["images", *views],
            bool(images.queries),
            pieces if is_one_file(save) else 0,
        )
    return missing


def check_save(save: str | Path) -> None:
    """Raise UserError or OSError if write_explorer cannot write to `save`; call this first."""
    if is_one_file(save):
        check_target(save)
    else:
        check_folder(save, EXPLORER_MARK)


@contextmanager
def _one_file(save: str | Path) -> Iterator[Path]:
    """Yield a temporary folder, and afterwards write its contents to the file `save`."""
    with TemporaryDirectory() as folder:
        yield Path(folder)
        write_text(save, in_one_file(Path(folder)))


def describe_images(images: ExplorerImages) -> dict[str, Any]:
    """Return the names, identities and cameras of all images, for the page.

    Identities and cameras are positions in lists of names, because JavaScript would round numbers
    beyond 2^53.
    """
    about: dict[str, Any] = {
        "queries": images.queries,
        "columns": SPRITE_COLUMNS,
        "rows": SPRITE_ROWS,
        "palette": MANY,
        "names": [printable(path) for path in images.short_paths],
        "listed": images.listed,
        "commands": images.commands,
        "further": [
            {printable(name): printable(value) for name, value in each.items()}
            for each in (images.further if any(images.further) else ())
        ],
        "key": content_key(images.paths),
    }
    for name, names, each in (
        ("person", "people", images.people),
        ("camera", "cameras", images.cameras),
    ):
        found = sorted(set(each), key=lambda word: (len(word), word))
        place = {word: number for number, word in enumerate(found)}
        about[names] = list(map(printable, found))
        about[name] = packed_array(np.array([place[word] for word in each], np.int32))
        if name == "person":
            special = {
                "junk": JUNK_NAME,
                "distractor": person_name(DISTRACTOR, images.words),
                "unknown": NO_NAME,
            }
            about |= {key: place.get(word, -1) for key, word in special.items()}
    return about


def describe_result(
    query: FeatureSet,
    gallery: FeatureSet,
    rankings: Sequence[RankedGallery],
    ignore_cameras: bool = False,
) -> dict[str, Any]:
    """Return the content of a page about a result, except for the images.

    rankings: the rankings of these images, first the plain ranking by these features, whose cosines
    are compared with the threshold.
    ignore_cameras: also count pairs from one camera.

    Raises UserError if there is no pair of one person, or no pair of strangers.
    """
    return {
        "rankings": [describe_ranking(ranking) for ranking in rankings],
        "thresholds": describe_thresholds(query, gallery, ignore_cameras),
    }


def describe_ranking(ranking: RankedGallery) -> dict[str, Any]:
    """Return a ranking for the page: its metrics, and the values for every query."""
    metrics = ranking.metrics
    numbers: dict[str, npt.NDArray[Any]] = {
        "precision": metrics.average_precision,
        "penalty": metrics.inverse_negative_penalty,
        "first": metrics.first_match.astype(np.int32),
        "listed": ranking.listed.astype(np.int32),
        "similarities": ranking.similarities,
        "starts": np.append(0, metrics.num_matches.cumsum()).astype(np.int32),
        "matches": ranking.matches.astype(np.int32),
        "ranks": ranking.ranks.astype(np.int32),
        "matchSimilarities": ranking.match_similarities,
    }
    return {
        "name": printable(ranking.name),
        "figures": metrics.figures(),
        "width": ranking.listed.shape[1],
        **{name: packed_array(values) for name, values in numbers.items()},
    }


def describe_thresholds(
    query: FeatureSet, gallery: FeatureSet, ignore_cameras: bool = False
) -> dict[str, Any]:
    """Return how many pairs each threshold accepts, and the thresholds of tools/threshold.py."""
    pairs = pair_similarities(query, gallery, ignore_cameras)
    rules = error_rates(pairs)["all_pairs"]["rules"]
    return {
        "bins": BINS,
        "steps": THRESHOLD_STEPS,
        "genuine": packed_array(accepted_pairs(pairs.genuine).astype(np.float64)),
        "impostor": packed_array(accepted_pairs(pairs.impostor).astype(np.float64)),
        "rules": {name: values["threshold"] for name, values in rules.items()},
    }


def quantise(features: Features) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return features (N, D) as int8 and the scales (N,): features ≈ int8 · scale."""
    scales = np.abs(features).max(axis=1) / INT8_LEVELS
    return np.rint(features / scales[:, None]).astype(np.int8), scales.astype(np.float32)


def write_features(features: Features, folder: Path) -> int:
    """Write features (N, D) as scripts with PIECE rows each, and return the number of scripts."""
    values, scales = quantise(features)
    starts = range(0, len(features), PIECE)
    for number, start in enumerate(starts):
        part = slice(start, start + PIECE)
        piece = {
            "number": number,
            "dimension": features.shape[1],
            "values": packed_array(values[part]),
            "scales": packed_array(scales[part]),
        }
        write_script(folder / f"features_{number}.js", "features", piece)
    return len(starts)


def to_square(points: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Scale points (N, 2) to a square of 65,536 by 65,536, with the same scale on both axes."""
    least, most = points.min(axis=0), points.max(axis=0)
    centred = (points - (least + most) / 2) / max((most - least).max(), 1e-12)
    return np.asarray(np.rint((centred + 0.5) * 65535), np.uint16)


def packed_array(values: npt.NDArray[Any]) -> dict[str, str]:
    """Return the name of an array's JavaScript type, and its values in base64, little-endian."""
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    content = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    return {"type": TYPES[kind], "base64": base64.b64encode(content).decode("ascii")}


def write_script(path: Path, name: str, content: object) -> None:
    """Write a script that makes the call `receive("name", …);`.

    The content cannot end the script or a comment in it, because < is escaped.
    """
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    path.write_text(f'receive("{name}", {text});\n', encoding="ascii")


def is_one_file(save: str | Path) -> bool:
    """Return whether an explorer is a single file, judging by its extension."""
    return Path(save).suffix.lower() in ONE_FILE


def one_file_size(images: int, dimension: int) -> float:
    """Return the approximate size in bytes of a single-file explorer, with its data in base64."""
    return images * (THUMBNAIL_BYTES + dimension) * 4 / 3


def check_page_size(save: str | Path, images: int, dimension: int) -> None:
    """Raise UserError if images with features of this dimension are too numerous for one file."""
    size = one_file_size(images, dimension)
    if size > MOST_PAGE_BYTES:
        raise UserError(
            f"{save}: {images:,} images would make one file of about {size / 1e6:.0f} MB; "
            f"at most {MOST_PAGE_BYTES / 1e6:.0f}. "
            f"Write a folder instead: --save {Path(save).with_suffix('')}"
        )


def write_explorer_page(
    folder: Path, title: str, views: Sequence[str], queries: bool, pieces: int = 0
) -> None:
    """Write index.html, and copy the styles and scripts beside it.

    views: the names of the scripts in data/ that the page waits for. queries: whether there are
    queries. pieces: the number of scripts with features that are loaded with the page; the other
    scripts are loaded later.
    """
    for name, source in page_sources("explorer").items():
        shutil.copy(source, folder / name)
    rules = (
        f'.sheet{number} {{ background-image: url("sheets/{number}.jpg"); }}\n'
        for number in range(len(list((folder / "sheets").iterdir())))
    )
    (folder / "sheets.css").write_text("".join(rules), encoding="ascii")
    text = TEMPLATES.get_template("explorer/index.html").render(
        title=printable(title),
        views=views,
        queries=queries,
        pieces=pieces,
    )
    (folder / "index.html").write_text(text, encoding="utf-8")


def in_one_file(folder: Path) -> str:
    """Return index.html with the contents of all files beside it embedded.

    In data, < is escaped, so nothing can end a script early.
    """

    def sheet(found: re.Match[str]) -> str:
        return f'url("{data_uri((folder / found[1]).read_bytes(), "image/jpeg")}")'

    def content(found: re.Match[str]) -> str:
        text = (folder / (found[1] or found[2])).read_text(encoding="utf-8")
        return (
            f"<style>\n{SHEET_ADDRESS.sub(sheet, text)}</style>"
            if found[1]
            else f"<script>\n{text}</script>"
        )

    return LINKED_FILES.sub(content, (folder / "index.html").read_text(encoding="utf-8"))
