"""Multiple queries: the mean feature of all images of a person by the query's camera."""

import logging
from pathlib import Path

import numpy as np

from person_reid.config.option import OptionError
from person_reid.errors import UserError
from person_reid.retrieval.metrics import have_images, merge_multi_query
from person_reid.retrieval.results import (
    QUERY_DIGEST,
    FeatureSet,
    load_multi_query,
    multi_query_file,
    read_note,
)
from person_reid.text import as_command, counted

log = logging.getLogger(__name__)


def read_multi_query(
    result: str | Path, query: FeatureSet, path: str | Path | None = None
) -> FeatureSet | None:
    """Return the queries of a result with their multiple-query features, or None without any.

    path: the file of these features. None for the one beside the result, if there is one; it is
        skipped with a remark if it belongs to other queries, because another network was
        tested since or because it shows other people.

    Raises UserError if `path` is missing or belongs to other queries.
    """
    file = multi_query_file(result) if path is None else Path(path)
    if path is None and not file.exists():
        return None
    if not file.is_file():
        raise OptionError(
            f"{{multi_query}}: not a file. Write it first: "
            f"{as_command('test.py')} --name NAME --multi",
            multi_query=file,
        )
    written_for = read_note(file, QUERY_DIGEST)
    images = load_multi_query(file) if written_for in ("", query.digest()) else None
    says_nothing = not written_for and path is None  # as the published file
    if not (problem := _misfit(result, query, images, says_nothing)):
        assert images is not None
        return merge_images(query, images, file)
    if path is not None:
        raise UserError(f"{file}: {problem}. Write both with test.py --multi.")
    log.warning("%s: %s. It is ignored. Write both with test.py --multi.", file, problem)
    return None


def _misfit(
    result: str | Path, query: FeatureSet, images: FeatureSet | None, says_nothing: bool
) -> str:
    """Return why the images do not belong to the queries; "" if they do.

    images: None if their file names other queries. says_nothing: whether it names none.
    """
    if images is None:
        return f"belongs to other features than those of {result}"
    width, expected = images.features.shape[1], query.features.shape[1]
    if width != expected:
        return f"has features of {width} dimensions; those of {result} have {expected}"
    without = np.count_nonzero(~have_images(query, images))
    if without == len(query):
        return f"has no image of any query of {result} in the query's camera"
    if without and says_nothing:
        return f"lacks {without} of {len(query)} queries, so it may show other people"
    return ""


def merge_images(query: FeatureSet, images: FeatureSet, source: str | Path) -> FeatureSet | None:
    """Return the queries with the mean features of their images, or None if no query has any.

    The log reports it, or how many queries have none. source: the file or folder of the
    images. All scripts that measure multiple queries call it.
    """
    without = np.count_nonzero(~have_images(query, images))
    if without == len(query):
        log.warning("%s: no image of any query in its camera, so no multiple query.", source)
        return None
    if without:
        asked = counted(len(query), "query", "queries")
        log.warning(
            "%s: %d of %s have no image there and keep their own feature.", source, without, asked
        )
    return merge_multi_query(query, images)
