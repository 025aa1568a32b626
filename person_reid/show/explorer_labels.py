"""Doubtful labels for the explorer: each proposal beside the images for and against it."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from person_reid.arrays import Integers
from person_reid.data.layout import DISTRACTOR
from person_reid.data.own.corrections import CORRECTION_COLUMNS, Correction, read_list
from person_reid.data.readers import group
from person_reid.retrieval.similarity import Features
from person_reid.show.explorer_images import ExplorerImages, content_key, person_name
from person_reid.text import printable

IMAGES_OF_STRIP = 5  # images of a strip
# Proposals about all images of a person, or about all of them by a camera.
TOGETHER = ("merge", "split")


def describe_proposals(images: ExplorerImages, file: Path) -> dict[str, Any]:
    """Return the proposals of a list of tools/label_errors.py, each with strips of images.

    Beside the images that it is about are the IMAGES_OF_STRIP nearest of all others, of those with
    the same label, of those that have the proposed identity, and of those that the list also
    proposes for it. Raises UserError as read_list does.
    """
    places = {path: place for place, path in enumerate(images.short_paths)}
    identities = {path: number for path in places if (number := _folder(path)) is not None}
    lines = read_list(file, identities)
    people = np.array(images.people)
    name_of = partial(person_name, words=images.words)
    wanted = np.full(len(people), None, object)
    wanted[[places[line.path] for line in lines]] = [name_of(line.new_identity) for line in lines]
    proposals = []
    for number, each in enumerate(group(lines, _decided_as_one).values()):
        first, found = each[0], [places[line.path] for line in each]
        own, new = name_of(first.identity), name_of(first.new_identity)
        labelled = (people == own) & (first.identity != DISTRACTOR)
        similarities = images.features[found].mean(axis=0) @ images.features.T
        order = np.argsort(-similarities, kind="stable")
        order = order[~np.isin(order, found)]
        shown = {
            "nearest": np.full(len(people), True),
            "own": labelled,
            "new": people == new,
            "coming": (people != new) & (wanted == new),
        }
        strips = {name: _strip(order[which[order]], similarities) for name, which in shown.items()}
        proposals.append(
            {
                "number": number,
                "proposal": first.proposal,
                "own": own,
                "new": new,
                "images": found,
                "probability": first.probability,
                "accepted": first.accepted,
                "strips": strips,
                "lines": [line[:-1] for line in each],
            }
        )
    return {
        "key": content_key([each["lines"] for each in proposals]),
        "file": f"{printable(file.stem)}_accepted.csv",
        "columns": CORRECTION_COLUMNS,
        "proposals": proposals,
    }


def _strip(order: Integers, similarities: Features) -> list[list[float]]:
    """Return [image, similarity] of the first images of an order (K,)."""
    return [[int(i), round(float(similarities[i]), 4)] for i in order[:IMAGES_OF_STRIP]]


def _decided_as_one(line: Correction) -> tuple[object, ...]:
    """Return what lines have in common that a person accepts or rejects together."""
    if line.proposal in TOGETHER:
        return line.proposal, line.identity, line.new_identity, line.accepted
    return (line.path,)


def _folder(path: str) -> int | None:
    """Return the identity that an image's folder says, split/identity/name, or None."""
    try:
        return int(path.split("/")[-2])
    except (ValueError, IndexError):
        return None
