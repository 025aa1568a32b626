"""The images of a gallery as rows of Milvus, and filters in its words.

Paths are percent-encoded, since Milvus stores UTF-8 and a path may be any bytes.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np

from person_reid.config.times import local
from person_reid.gallery.checks import check_filter
from person_reid.gallery.index import Found
from person_reid.gallery.metadata import FACT_NAMES, About, Filter
from person_reid.retrieval.similarity import Features, unit_rows


def milvus_filter(which: Filter) -> str:
    """Return a filter in Milvus's words."""
    check_filter(which)

    def literal(value: Any) -> str:
        return json.dumps(
            quote_from_bytes(value) if isinstance(value, bytes) else value, ensure_ascii=False
        )

    def clause(name: str, sign: str, value: Any) -> str:
        if name != "time":
            return f"{name} {'==' if sign == '=' else sign} {literal(value)}"
        both = literal(value), literal(local(value))  # without Z, it is of an earlier version
        in_utc, as_local = (f"{name} {sign} {each}" for each in both)
        return f'((time like "%Z" and {in_utc}) or (not (time like "%Z") and {as_local}))'

    clauses = [clause(*each) for each in which.comparisons()]
    clauses += [f"more[{literal(name)}] == {literal(value)}" for name, value in which.where or ()]
    if which.images is not None:
        paths = [quote_from_bytes(os.fsencode(path)) for path in which.images]
        clauses.append(f"path in {json.dumps(paths)}")
    return " and ".join(clauses)


def row_key(path: str | Path) -> str:
    """Return the key of an image's row."""
    return quote_from_bytes(os.fsencode(Path(path)))


def entry_of(row: Mapping[str, Any]) -> tuple[Path, About]:
    """Return the image in a row, and the facts about it."""
    about = About(*(row.get(name) for name in FACT_NAMES))
    path = Path(os.fsdecode(unquote_to_bytes(row["path"])))
    return path, about._replace(more=row.get("more") or None)


def features_of_rows(rows: Iterable[Mapping[str, Any]]) -> Features:
    """Return the features (n, D) of rows: numbers, or bytes of float16, alone or in a list."""
    values = [row["feature"] for row in rows]
    raw = [value[0] if isinstance(value[0], bytes) else value for value in values]
    return np.array(
        [np.frombuffer(v, np.float16) if isinstance(v, bytes) else v for v in raw], np.float32
    )


def found_by_features(query: Features, matches: Sequence[Mapping[str, Any]]) -> list[Found]:
    """Return the images that answer a query (D,), compared again by their stored features."""
    rows = [match["entity"] for match in matches]
    similarities = unit_rows(features_of_rows(rows)) @ query if rows else ()
    found = [
        Found(path, float(similarity), about)
        for (path, about), similarity in zip(map(entry_of, rows), similarities, strict=True)
    ]
    return sorted(found, key=lambda each: -each.similarity)
