# PYTHON_ARGCOMPLETE_OK
"""Write an explorer of a result: a folder whose index.html opens in any browser, offline.

    python tools/explore.py --result pytorch_result.mat --save look
    python tools/explore.py --save look.html                       # one file, for small sets
    python tools/explore.py --rerank                               # before and after re-ranking
    python tools/explore.py --result resnet.mat --other osnet.mat  # two networks, same images
    python tools/explore.py --label_errors label_errors.csv        # decide on doubtful labels
    python tools/explore.py crops                                  # a folder of images
    python tools/explore.py --index people.index                   # an index of tools/search.py

It shows all queries, worst first; the ranking of any image; a map of the features with a lasso for
selecting, tagging and exporting images; and the decisions and errors of a threshold. The folder
contains small copies of all photographs, so share it only if you may share them.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.evaluate import RerankOptions
from person_reid.config.forms import output_path
from person_reid.config.look import ShownFiles
from person_reid.config.option import ANY, as_flag, option, redeclared
from person_reid.config.run import PluginOptions
from person_reid.config.tested import NAMING
from person_reid.config.zoo import PACKAGED_NETWORK
from person_reid.console import parse, run_script
from person_reid.console.named_network import network_named
from person_reid.console.outputs import check_outputs
from person_reid.data.layout import DISTRACTOR, some_of
from person_reid.files import with_ending
from person_reid.gallery.gallery import open_gallery
from person_reid.gallery.index import MOST_COMPARED
from person_reid.gallery.indexing import find_images
from person_reid.gallery.metadata import about_images, listed_path
from person_reid.retrieval.results import (
    NETWORK,
    RESULT,
    check_same_images,
    load_gallery,
    read_note,
)
from person_reid.retrieval.similarity import Features
from person_reid.show.charts import run_names
from person_reid.show.explorer import check_save, describe_result, is_one_file, write_explorer
from person_reid.show.explorer_images import (
    JUNK_NAME,
    NO_NAME,
    ExplorerImages,
    images_of,
    person_name,
)
from person_reid.show.explorer_views import RankedGallery, describe_proposals, rank
from person_reid.text import as_command, printable, quoted


class ExploreOptions(PluginOptions, title="explorer"):
    """The contents of the page, and its file."""

    images: tuple[str, ...] = option(
        (),
        "images to show instead of a result, or folders of them at any depth",
        several="*",
        positional=True,
        metavar="IMAGE",
    )
    network: str = option(
        PACKAGED_NETWORK,
        "network that compares these images, as for compare_networks.py",
        needs={"images": ANY},
    )
    result: str | None = redeclared(
        ShownFiles, "result", None, help="features written by test.py (default: pytorch_result.mat)"
    )
    other: str | None = option(None, "features of another network, to compare with", metavar="FILE")
    index: str | None = option(
        None,
        "search index to show instead of a result, without queries and metrics",
        metavar="FILE",
    )
    label_errors: str | None = option(
        None,
        "list from tools/label_errors.py, to accept or reject; its images are read from the .mat "
        "file beside it",
        metavar="FILE.csv",
    )
    test_dir: str | None = redeclared(ShownFiles, "test_dir", None)
    save: str = option("look", "folder to write, or one file: NAME.html", form=output_path)
    ignore_cameras: bool = option(
        False, "also count matches from the query's own camera; the page then shows no cameras"
    )
    rerank: bool = option(False, "also show the re-ranked result, to compare with")


class ExploreConfig(RerankOptions, ExploreOptions):
    """All options of tools/explore.py."""

    @property
    def has_queries(self) -> bool:
        """Whether the page shows a result with queries."""
        return bool(self.result or not (self.images or self.index or self.label_errors))

    def fault(self) -> str:
        """Return why the options conflict, or "" if they do not."""
        given = self.not_default(RerankOptions.declared())
        if given and not self.rerank:
            return f"{', '.join(given)} would be ignored without rerank."
        if self.index and (self.result or self.label_errors):
            return "index replaces result and label_errors: give one or the other."
        if self.images and (self.result or self.label_errors or self.index):
            return "Images replace result, label_errors and index: give one or the other."
        if not self.has_queries and (self.rerank or self.other or self.ignore_cameras):
            return (
                "rerank, other and ignore_cameras are about rankings of queries: give result=FILE."
            )
        return ""


def main(argv: list[str] | None = None) -> None:
    """Rank the images, draw them, and write the explorer."""
    config = parse(ExploreConfig, argv, __doc__)
    save = Path(config.save)
    check_save(save)
    check_outputs(config, save=[save] if is_one_file(save) else [])

    rankings: list[RankedGallery] = []
    views: dict[str, Any] = {}
    if config.index:
        source, images = Path(config.index), images_in(config.index)
    elif config.images:
        source, images = Path(config.images[0]), images_below(config)
    elif config.label_errors and not config.result:
        source = features_beside(Path(config.label_errors))
        images = images_of(None, load_gallery(source), config.test_dir)
    else:
        source = Path(config.result or RESULT)
        query, gallery = reid.load_result(source, paths=True)
        images = images_of(query, gallery, config.test_dir)
    if config.ignore_cameras:
        images = replace(images, cameras=[NO_NAME] * len(images.paths))
    if config.label_errors:
        views["labels"] = describe_proposals(images, Path(config.label_errors))
    if config.has_queries:  # last, as re-ranking takes long and the list may be faulty
        rankings = rank_all(config, query, gallery)
        views |= describe_result(query, gallery, rankings, config.ignore_cameras)

    images = replace(images, commands=search_commands(config, source, images))

    missing = write_explorer(save, images, source.name, views, config.test_dir)
    count = len(images.paths)
    if missing:
        unreadable = f"{len(missing)} of {count} images cannot be read; their tiles are grey"
        print(printable(f"{unreadable}:\n{some_of(missing)}"))
    for ranking in rankings:
        name = "" if len(rankings) == 1 else f"{ranking.name} "
        print(printable(ranking.metrics.line(name)))
    page = save / "index.html" if save.is_dir() else save
    files = save.rglob("*") if save.is_dir() else [page]
    size = sum(path.stat().st_size for path in files if path.is_file())
    print(f"Open {page} in a browser ({size / 1e6:.1f} MB)")


def images_in(place: str) -> ExplorerImages:
    """Return the images in a search index.

    Raises UserError if it has no images, or more than a page can compare.
    """
    index = open_gallery(place, new=False)
    check_count(place, len(index))
    chunks, features = zip(*index.entries(), strict=True)
    entries = [entry for chunk in chunks for entry in chunk]
    return known_images(np.concatenate(features), entries)


def images_below(config: ExploreConfig) -> ExplorerImages:
    """Return images in folders, with features from a network.

    Raises UserError if there are no images, or more than a page can compare.
    """
    paths = find_images(config.images)
    check_count(config.images[0], len(paths))
    abouts = about_images(paths)
    embedder = reid.open_embedder(network_named(config.network, "network", "0"))
    return known_images(embedder(paths), list(abouts.items()))


def check_count(place: str, count: int) -> None:
    """Raise UserError for too few images, or for more than a page can compare."""
    if not 3 <= count <= MOST_COMPARED:
        raise reid.UserError(
            f"{place}: {count:,} images; expected 3 to {MOST_COMPARED:,}, all of which the page "
            "compares."
        )


def known_images(features: Features, entries: Sequence[tuple[Path, reid.About]]) -> ExplorerImages:
    """Return images with features (N, D) and the facts about each."""
    return ExplorerImages(
        features,
        [image.as_posix() for image, _ in entries],
        [indexed_name(about.identity) for _, about in entries],
        [about.camera or "" for _, about in entries],
        listed=[listed_path(image) for image, _ in entries],
        further=[about.more or {} for _, about in entries],
    )


def indexed_name(identity: str | None) -> str:
    """Return an identity's name as in the index, unless it means junk or a distractor."""
    name = person_name(identity)
    return name if name in (JUNK_NAME, person_name(DISTRACTOR)) else identity or NO_NAME


def search_commands(config: ExploreConfig, source: Path, images: ExplorerImages) -> list[str]:
    """Return the commands for searching these images with another picture as the query."""
    index = quoted(config.index or source.parent / f"{source.resolve().stem or 'images'}.index")
    query = f"{as_command('tools/search.py')} query PICTURE.jpg --index {index} --save found.png"
    if config.index:
        return [query]
    if config.images:
        folder, network = " ".join(map(quoted, config.images)), flags_of(config.network)
    else:
        folder = quoted(Path(images.paths[-1]).parent.parent)
        network = f" --name {read_note(source, NETWORK).partition(' ')[0] or 'NAME'}"
    return [f"{as_command('tools/search.py')} index {folder} --index {index}{network}", query]


def flags_of(network: str) -> str:
    """Return the flags of tools/search.py for the network that `network` names."""
    if network == PACKAGED_NETWORK:
        return ""
    named = network_named(network, "network", "0").not_default(NAMING)
    words = [f"{as_flag(name)} {quoted(value)}" for name, value in named.items()]
    return " ".join(["", *words, *network.split(" ")[1:]])


def features_beside(list_: Path) -> Path:
    """Return the file with the features from which a list of label errors was made.

    Raises UserError if the list or the features are missing.
    """
    if not list_.is_file():
        raise reid.UserError(f"{list_}: no such list. tools/label_errors.py writes one.")
    path = with_ending(list_, ".mat", ".csv")
    if not path.is_file():
        raise reid.UserError(
            f"{path}: not there. tools/label_errors.py writes it beside the list. A result with "
            "these images also serves: --result FILE"
        )
    return path


def rank_all(
    config: ExploreConfig, query: reid.FeatureSet, gallery: reid.FeatureSet
) -> list[RankedGallery]:
    """Return the plain ranking and, on request, another ranking to compare with it."""
    result = config.result or RESULT
    others = reid.load_result(config.other, paths=True) if config.other else None
    if others:
        check_same_images((query, gallery), result, others, f"other={config.other}")
    name, *more = run_names([Path(path) for path in (result, config.other) if path])
    ignored = config.ignore_cameras
    rankings = [rank(name, query, gallery, ignore_cameras=ignored)]
    if config.rerank:
        scores = reid.rescorer(config)(query.features, gallery.features)
        rankings.append(rank(f"{name}, re-ranked", query, gallery, scores, ignored))
    if others:
        rankings.append(rank(more[0], *others, ignore_cameras=ignored))
    return rankings


if __name__ == "__main__":
    run_script(main)
