"""From the pictures of a download to file names that say identity and camera, as layout.py reads them."""

import re
from pathlib import Path

NUMBER = re.compile(r"[0-9]{1,9}")
LONGEST = 180  # bytes of a name that are kept: file systems take 255


def file_names(splits, distractors=True):
    """{split: {`<identity>/<image>`: source}} from {split: [Picture]}.

    A name that begins with its identity, in four digits or more, and its camera stays as it is; others get both in
    front. Identities and cameras that are no numbers are numbered in the order of the alphabet. An image without a
    camera gets a number of its own, the same in every split. distractors: whether the identities 0 and -1 mean
    distractors and junk; where they do not, and there is a 0, all identities are one higher.
    """
    pictures = [picture for found in splits.values() for picture in found]
    identities = _numbers({picture.identity for picture in pictures}, ("-1", "0") if distractors else ())
    cameras = _numbers({picture.camera for picture in pictures if picture.camera is not None}, ("0",))
    without = sorted({picture.source for picture in pictures if picture.camera is None})
    alone = {source: number for number, source in enumerate(without, max(cameras.values(), default=0) + 1)}
    return {split: _place_all(found, identities, cameras, alone) for split, found in splits.items()}


def _numbers(texts, meant):
    """{text: its number}. `meant` are those that keep their number also where others are no numbers, or where a 0 would
    have to make way."""
    texts = sorted(texts)
    numbers = {text: int(text) for text in texts if text in meant or NUMBER.fullmatch(text)}
    if len(numbers) < len(texts):
        fixed = {text: number for text, number in numbers.items() if str(number) in meant}
        rest = [text for text in texts if text not in fixed]
        return fixed | {text: number for number, text in enumerate(rest, 1)}
    shift = 1 if 0 in numbers.values() and "0" not in meant else 0
    return {text: number + shift for text, number in numbers.items()}


def _place_all(pictures, identities, cameras, alone):
    places: dict[str, Path] = {}
    taken: dict[str, Path] = {}
    for picture in pictures:
        identity = identities[picture.identity]
        folder = "-1" if identity == -1 else f"{identity:04d}"
        camera = alone[picture.source] if picture.camera is None else cameras[picture.camera]
        target = f"{folder}/{_name(picture.source.name, f'{folder}_c', camera)}"
        # Two folders may hold images of one name, and some file systems do not tell A.jpg from a.jpg.
        number = 1
        stem, suffix = target.rpartition(".")[0], Path(target).suffix
        while taken.setdefault(target.casefold(), picture.source) != picture.source:
            number += 1
            target = f"{stem}_{number}{suffix}"
        places[target] = picture.source
    return places


def _name(name, beginning, camera):
    """`name` itself if it says the identity (`beginning`) and the camera, else with both in front."""
    if name.startswith(beginning):
        said = NUMBER.match(name, len(beginning))
        if said and int(said[0]) == camera and not re.search(r"[\\:]", name):
            return name
    stem, suffix = Path(name).stem, Path(name).suffix
    stem = re.sub(r"[\\/:]", "_", stem).encode()[:LONGEST].decode(errors="ignore")
    return f"{beginning}{camera}_{stem}{suffix}"
