"""People across cameras for the explorer: their tracks along time, which can be cut and joined."""

from collections.abc import Mapping, Sequence
from typing import Any

from person_reid.retrieval.association import DOUBTFUL, Stay
from person_reid.show.explorer_images import content_key
from person_reid.text import printable


def describe_stays(
    stays: Sequence[Stay],
    file: str,
    columns: Sequence[str],
    highest: int = 0,
    command: str = "",
    names: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Return the tracks for the page, which saves a list of the images of people that were checked.

    file: the name of the list. columns: names for the cells of the stays' rows; the page fills in
    `identity`. highest: the highest number of a person; a new one gets a higher number.
    command: reads the list. names: of people.
    """
    tracks = [
        {
            "person": stay.person,
            "camera": printable(stay.camera),
            "name": printable(stay.name),
            "first": round(stay.first, 3),
            "last": round(stay.last, 3),
            "times": stay.times,
            "boxes": stay.boxes,
            "margin": None if stay.margin is None else round(stay.margin, 4),
            "nearest": stay.nearest,
            "images": stay.images,
            "rows": stay.rows,
            "given": stay.given,
            "twice": stay.twice,
            "apart": stay.apart,
        }
        for stay in stays
    ]
    return {
        "key": content_key(tracks),
        "file": file,
        "columns": list(columns),
        "identity": list(columns).index("identity"),
        "doubtful": DOUBTFUL,
        "highest": highest,
        "command": command,
        "names": dict(names or {}),
        "tracks": tracks,
    }
