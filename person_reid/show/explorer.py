"""Write the explorer: a folder whose index.html shows all images, rankings and thresholds in a browser, offline.

    rankings = [rank("cosine", query, gallery)]
    write_explorer("look", query, gallery, rankings, "market.mat")

Browsers do not let a page from the disk read other files, except as scripts and images. So numbers are in scripts,
data/*.js, which hand base64 or JSON to a function of the page (templates/explorer/data.js), and photographs are tiles
of large JPEG files, sheets/*.jpg.
"""

import base64
import json
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.basics import printable, whole_folder
from person_reid.data.layout import DISTRACTOR, JUNK
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features, unit_rows
from person_reid.retrieval.thresholds import BINS, pair_similarities, summarize
from person_reid.show.embedding import project_all
from person_reid.show.explorer_rankings import Ranking
from person_reid.show.page import TEMPLATES, palette
from person_reid.show.ranking import Folder, paths_of
from person_reid.show.sprites import COLUMNS, ROWS, write_sprites
from person_reid.show.style import LINES, LINES_ON_DARK, MANY

SOURCES = Path(__file__).parent / "templates" / "explorer"
MARK = ".person-reid-explorer"  # a file that only folders of explorers hold
PIECE = 2048  # features in a script, so that the page never stops for long to decode one
LEVELS = 127  # of int8
COLOURS = tuple(
    colour for colour in MANY if colour not in ("#94a4a2", "#717581")
)  # grey is left to distractors and junk


def write_explorer(
    save: str | Path,
    query: FeatureSet,
    gallery: FeatureSet,
    rankings: Sequence[Ranking],
    title: str,
    test_dir: Folder = None,
) -> list[str]:
    """Write the folder `save`, whole or not at all; an older explorer there is replaced.

    rankings: of these images, the plain ranking of these features first; its cosines are compared with the threshold.
    title: for the page.
    test_dir: folder that holds query and gallery, if the images have moved.

    Returns a line for each image that cannot be read, which is a grey tile. Raises UserError if no image can be read,
    for a result that does not name its images, and if `save` is something else.
    """
    paths = [*paths_of(query, "query", test_dir), *paths_of(gallery, "gallery", test_dir)]
    with whole_folder(save, MARK) as folder:
        missing = write_sprites(paths, folder / "sheets", test_dir)
        features = np.concatenate([unit_rows(query.features), unit_rows(gallery.features)])
        (folder / "data").mkdir()
        pieces = write_features(features, folder / "data")
        images = describe_images(query, gallery, paths) | {"pieces": pieces, "piece": PIECE}
        points, method = project_all(features)
        images |= {"points": packed(to_square(points)), "method": method}
        write_script(folder / "data" / "images.js", "images", images)
        thresholds = describe_thresholds(query, gallery)
        write_script(folder / "data" / "rankings.js", "rankings", [describe_ranking(ranking) for ranking in rankings])
        write_script(folder / "data" / "thresholds.js", "thresholds", thresholds)
        write_page(folder, title)
    return missing


def describe_images(query: FeatureSet, gallery: FeatureSet, paths: Sequence[str]) -> dict[str, Any]:
    """Return names, identities and cameras of all images, the queries first.

    Identities and cameras are positions in lists of names: JavaScript would round numbers beyond 2^53.
    """
    labels, cameras = (
        np.unique(np.concatenate([getattr(images, name) for images in (query, gallery)]), return_inverse=True)
        for name in ("labels", "cameras")
    )
    return {
        "queries": len(query),
        "columns": COLUMNS,
        "rows": ROWS,
        "names": [printable("/".join(PurePosixPath(path).parts[-3:])) for path in paths],
        "people": ["junk" if label == JUNK else f"{label:04d}" for label in labels[0].tolist()],
        "junk": int(np.searchsorted(labels[0], JUNK)) if JUNK in labels[0] else -1,
        "distractor": int(np.searchsorted(labels[0], DISTRACTOR)) if DISTRACTOR in labels[0] else -1,
        "person": packed(labels[1].ravel().astype(np.int32)),
        "cameras": [str(camera) for camera in cameras[0].tolist()],
        "camera": packed(cameras[1].ravel().astype(np.int32)),
        "palette": COLOURS,
    }


def describe_ranking(ranking: Ranking) -> dict[str, Any]:
    """Return a ranking for the page: its figures, and the numbers of every query."""
    metrics = ranking.metrics
    starts = np.append(0, metrics.num_matches.cumsum())
    numbers: dict[str, npt.NDArray[Any]] = {
        "precision": metrics.average_precision,
        "penalty": metrics.inverse_negative_penalty,
        "first": metrics.first_match.astype(np.int32),
        "listed": ranking.listed.astype(np.int32),
        "similarities": ranking.similarities,
        "starts": starts.astype(np.int32),
        "matches": ranking.matches.astype(np.int32),
        "ranks": ranking.ranks.astype(np.int32),
        "matchSimilarities": ranking.match_similarities,
    }
    about = {"name": printable(ranking.name), "figures": metrics.figures(), "width": ranking.listed.shape[1]}
    return about | {name: packed(values) for name, values in numbers.items()}


def describe_thresholds(query: FeatureSet, gallery: FeatureSet) -> dict[str, Any]:
    """Return the histograms of similarities, and the thresholds that tools/threshold.py would choose."""
    pairs = pair_similarities(query, gallery)
    rules = summarize(pairs)["all_pairs"]["rules"]
    return {
        "bins": BINS,
        "genuine": packed(pairs.genuine.astype(np.uint32)),
        "impostor": packed(pairs.impostor.astype(np.uint32)),
        "rules": {name: values["threshold"] for name, values in rules.items()},
    }


def quantise(features: Features) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return features (N, D) as int8 and the scales (N,): features ≈ int8 · scale."""
    scales = np.abs(features).max(axis=1) / LEVELS
    return np.rint(features / scales[:, None]).astype(np.int8), scales.astype(np.float32)


def write_features(features: Features, folder: Path) -> int:
    """Write features (N, D) as scripts of PIECE rows each; return how many."""
    values, scales = quantise(features)
    starts = range(0, len(features), PIECE)
    for number, start in enumerate(starts):
        part = slice(start, start + PIECE)
        piece = {"number": number, "dimension": features.shape[1]}
        piece |= {"values": packed(values[part]), "scales": packed(scales[part])}
        write_script(folder / f"features_{number}.js", "features", piece)
    return len(starts)


def to_square(points: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Return points (N, 2) in a square of 65,536 by 65,536, both axes by the same scale."""
    least, most = points.min(axis=0), points.max(axis=0)
    centred = (points - (least + most) / 2) / max((most - least).max(), 1e-12)
    return np.asarray(np.rint((centred + 0.5) * 65535), np.uint16)


def packed(values: npt.NDArray[Any]) -> dict[str, str]:
    """Return an array as the name of JavaScript's type and base64, little-endian."""
    kinds = {"f4": "Float32Array", "f8": "Float64Array", "i1": "Int8Array", "i4": "Int32Array", "u2": "Uint16Array"}
    kinds |= {"u4": "Uint32Array"}
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    content = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    return {"type": kinds[kind], "base64": base64.b64encode(content).decode("ascii")}


def write_script(path: Path, name: str, content: object) -> None:
    """Write `receive("name", …);`. Nothing in the content can end the script or a comment in it: < is escaped."""
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    path.write_text(f'receive("{name}", {text});\n', encoding="ascii")


def write_page(folder: Path, title: str) -> None:
    """Write index.html, and copy the styles and scripts beside it."""
    for source in SOURCES.iterdir():
        if source.suffix in (".js", ".css"):
            shutil.copy(source, folder / source.name)
    lines = {"LINES": LINES, "LINES_ON_DARK": LINES_ON_DARK}
    text = TEMPLATES.get_template("explorer/index.html").render(title=printable(title), **palette(), **lines)
    (folder / "index.html").write_text(text, encoding="utf-8")
