"""Name the pictures of a download so that layout.py can read identity and camera from each file name."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from person_reid.data.readers import Picture, Source, Splits

NUMBER = re.compile(r"[0-9]{1,9}")
LONGEST = 180  # bytes kept of a name; file systems allow 255


def file_names(splits: Splits, distractors: bool = True) -> dict[str, dict[str, Source]]:
    """Return {split: {`<identity>/<image>`: source}} for {split: [Picture]}.

    A name that already begins with its identity (four digits or more) and camera is kept; others get both as a prefix.
    Identities and cameras that are not numbers are numbered in alphabetical order. An image without a camera gets a
    camera number of its own, the same in every split.

    distractors: whether the identities 0 and -1 mean distractors and junk. If they do not, and there is a 0, every
        identity is raised by one.
    """
    pictures = [picture for found in splits.values() for picture in found]
    identities = _numbers({picture.identity for picture in pictures}, ("-1", "0") if distractors else ())
    cameras = _numbers({picture.camera for picture in pictures if picture.camera is not None}, ("0",))
    without = sorted({pic.source for pic in pictures if pic.camera is None and isinstance(pic.source, Path)})
    alone: dict[Source, int] = {
        source: number for number, source in enumerate(without, max(cameras.values(), default=0) + 1)
    }
    return {split: _place_all(found, identities, cameras, alone) for split, found in splits.items()}


def _numbers(labels: set[str], meant: Collection[str]) -> dict[str, int]:
    """Return {label: number}.

    The labels in `meant` always keep their number, even if other labels are not numbers or a 0 shifts them.
    """
    texts = sorted(labels)
    numbers = {text: int(text) for text in texts if text in meant or NUMBER.fullmatch(text)}
    if len(numbers) < len(texts):
        fixed = {text: number for text, number in numbers.items() if str(number) in meant}
        rest = [text for text in texts if text not in fixed]
        return fixed | {text: number for number, text in enumerate(rest, 1)}
    shift = 1 if 0 in numbers.values() and "0" not in meant else 0
    return {text: number + shift for text, number in numbers.items()}


def _place_all(
    pictures: Sequence[Picture], identities: dict[str, int], cameras: dict[str, int], alone: dict[Source, int]
) -> dict[str, Source]:
    places: dict[str, Source] = {}
    taken: dict[str, Source] = {}
    for picture in pictures:
        identity = identities[picture.identity]
        folder = "-1" if identity == -1 else f"{identity:04d}"
        camera = alone[picture.source] if picture.camera is None else cameras[picture.camera]
        target = f"{folder}/{_name(picture.source.name, f'{folder}_c', camera)}"
        # Two folders may hold images of the same name, and some file systems do not distinguish A.jpg from a.jpg.
        number = 1
        stem, suffix = target.rpartition(".")[0], Path(target).suffix
        while taken.setdefault(target.casefold(), picture.source) != picture.source:
            number += 1
            target = f"{stem}_{number}{suffix}"
        places[target] = picture.source
    return places


def _name(name: str, beginning: str, camera: int) -> str:
    """Return `name` if it gives the identity (`beginning`) and the camera, otherwise prefix both."""
    if name.startswith(beginning):
        said = NUMBER.match(name, len(beginning))
        if said and int(said[0]) == camera and not re.search(r"[\\:]", name):
            return name
    stem, suffix = Path(name).stem, Path(name).suffix
    stem = re.sub(r"[\\/:]", "_", stem)
    if len(encoded := os.fsencode(stem)) > LONGEST:
        stem = encoded[:LONGEST].decode(errors="ignore")
    return f"{beginning}{camera}_{stem}{suffix}"
