"""Who was where and when, as pages and pictures show it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stay:
    """A track: a person before a camera.

    person: from 0; -1 for what is not a person. first, last: seconds since the start. name, times:
    words for the track, and for when it begins and ends. boxes: how many it has. margin: see
    People; None for a track without an image, and for one that can be no other person. nearest:
    another person that it could show, -1 if there is none. images: places among those of a page.
    rows: what a list of images says of each of its images. known: what a user has called the
    person, "" if no user has. given: whether a user has said whom it shows.
    twice, apart: other tracks that share a moment with it: those that may show the same person, and
    those that cannot.
    """

    person: int
    camera: str
    first: float
    last: float
    name: str = ""
    times: tuple[str, str] = ("", "")
    boxes: int = 0
    margin: float | None = None
    nearest: int = -1
    images: tuple[int, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    known: str = ""
    given: bool = False
    twice: tuple[int, ...] = ()
    apart: tuple[int, ...] = ()
