"""Recognise which data set a folder holds, or download one."""

import logging
import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from person_reid.data.datasets import DATA_SETS, KnownDataSet
from person_reid.data.images.image_files import PREPARED_RECORD, is_image
from person_reid.data.layout import found_in, next_command, not_a_folder
from person_reid.data.readers import TRAIN
from person_reid.errors import UserError, first_line
from person_reid.fetching import fetch_file
from person_reid.files import real, shipped
from person_reid.text import as_command, did_you_mean

log = logging.getLogger(__name__)


def fetch_data_set(name: str, folder: str | Path | None = None) -> Path:
    """Download a data set by name, unless it is already on disk, and return its folder.

    folder: where to put it; by default, where find_data_set looks. Logs its terms first.
    The checksums in the archive are verified; prepare.py checks the number of images.
    Raises UserError if the data set has no address, or cannot be fetched.
    """
    data_set = DATA_SETS[data_set_named(name)]
    target = Path(folder or next(iter(data_set.locations), name))
    if _has_parts(data_set, target):
        return target
    if not data_set.archive:
        raise UserError(
            f"download: {data_set.name} has no public address. "
            f"To get it: {data_set.get or data_set.source}."
        )
    if target.exists() and any(target.iterdir()):
        raise UserError(
            f"{target}: holds something other than {data_set.name}. Name another folder."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    log.info(
        "%s: downloading %s. Terms: %s (%s)",
        data_set.name, data_set.archive, data_set.licence, data_set.source,
    )  # fmt: skip
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as place:
        archive = Path(place, "archive.zip")
        try:
            fetch_file(data_set.archive, archive)
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(place)  # verifies the checksum of each file
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{data_set.archive}: not fetched ({first_line(error)}). Download {data_set.name} "
                f"from {data_set.source}, and unpack it as {target}."
            ) from error
        inside = (path.parent for path in sorted(Path(place).rglob(data_set.requires[0])))
        found = next((path for path in inside if _has_parts(data_set, path)), None)
        if not found:
            raise UserError(f"{data_set.archive}: does not hold {data_set.name}.")
        if target.exists():
            target.rmdir()
        found.rename(target)
    return target


def find_data_set(
    data_dir: str | Path | None = None, dataset: str | None = None
) -> tuple[KnownDataSet, Path]:
    """Return the requested data set and the folder of its download.

    data_dir: the folder; None searches the default locations.
    dataset: see data_set_named; None recognises the data set by its folders and file names.

    Raises UserError if no data set is recognised; the message says what was found instead.
    """
    dataset = dataset and data_set_named(dataset)
    wanted = (
        [DATA_SETS[dataset]] if dataset else [known for known in DATA_SETS.values() if known.guess]
    )
    places = [
        (known, Path(place))
        for known in wanted
        for place in (known.locations if data_dir is None else [data_dir])
    ]
    # A layout has the folders query and gallery, which a data set may have as well.
    laid_out = not dataset and data_dir and Path(data_dir, PREPARED_RECORD).is_file()
    fitting = [] if laid_out else [pair for pair in places if _has_parts(*pair)]
    found = [pair for pair in fitting if dataset or _has_names(*pair)]
    if data_dir is None:
        if not found:
            raise UserError(_not_found(wanted))
        return found[0]
    if not Path(data_dir).is_dir():
        raise UserError(f"{data_dir}: {not_a_folder(Path(data_dir))}.")
    if not fitting:
        raise UserError(_wrong_folder(Path(data_dir), wanted))
    if not found:
        of_folders = " or ".join(known.name for known, _ in fitting)
        raise UserError(
            f"{data_dir}: its folders are those of {of_folders}, its file names are not. "
            "If it is one of them, say which with dataset."
        )
    return max(found, key=lambda pair: len(pair[0].requires))


def data_set_named(text: str) -> str:
    """Return the key in DATA_SETS for a name in any spelling, such as `Market-1501`.

    It may be the key, the authors' name, the name of the download's folder, or the beginning of one
    of them. Raises UserError for a name that fits none, or several.
    """

    def plain(name: str) -> str:
        return re.sub("[^a-z0-9]", "", name.casefold())

    writings = {
        key: [plain(name) for name in (key, known.name, *known.locations)]
        for key, known in DATA_SETS.items()
    }
    exact = [key for key, names in writings.items() if plain(text) in names]
    begun = [
        key
        for key, names in writings.items()
        if any(name.startswith(plain(text) or "?") for name in names)
    ]
    found = exact or begun
    usual = [key for key in exact if DATA_SETS[key].guess]  # two share Market-1501's folder
    if len(chosen := usual or found) == 1:
        return chosen[0]
    known_names = [name for names in writings.values() for name in names]
    near = (
        f" It could be {' or '.join(found)}." if found else did_you_mean(plain(text), known_names)
    )
    raise UserError(f"dataset={text}: expected one of {', '.join(DATA_SETS)}.{near}")


def with_flags(data_set: KnownDataSet, flags: dict[str, Any]) -> KnownDataSet:
    """Return the data set, with `flags`, {flag: value}, bound to its reader.

    Raises UserError for a flag that would be ignored.
    """
    ignored = [flag for flag in flags if flag not in data_set.flags]
    if ignored:
        accepted = ", ".join(data_set.flags) or "none of these flags"
        raise UserError(f"{', '.join(ignored)} would be ignored: {data_set.name} takes {accepted}.")
    return replace(data_set, read=partial(data_set.read, **flags)) if data_set.read else data_set


def _has_parts(known_set: KnownDataSet, folder: Path) -> bool:
    return folder.is_dir() and all(
        any((folder / part).exists() for part in parts.split("|")) for parts in known_set.requires
    )


def _has_names(known_set: KnownDataSet, folder: Path) -> bool:
    """Return whether a folder's first image is named as in this data set.

    The image is in the first required folder; `<folder>/<image>` is compared with the pattern.
    """
    if not known_set.file_name:
        return True
    part = folder / known_set.requires[0].split("|")[0]
    entries = part.iterdir() if part.is_dir() else ()
    image = min((path.name for path in entries if is_image(path.name)), default="")
    return re.search(known_set.file_name, f"{real(folder).name}/{image}") is not None


def _not_found(wanted: Sequence[KnownDataSet]) -> str:
    if len(wanted) == 1 and not wanted[0].locations:
        return f"{wanted[0].name}: name the folder with data_dir. {wanted[0].get}"
    looked = "\n".join(
        f"  {known_set.name}: {' or '.join(known_set.locations)}" for known_set in wanted
    )
    known_set = wanted[0]
    return (
        f"no data set found from {Path.cwd()}. Looked for:\n{looked}\n"
        f"To get {known_set.name}: {known_set.get or known_set.source}. "
        f"{shipped('docs/datasets.md')} has all sources and terms.\n"
        f"--data_dir FOLDER names another place; "
        f"{as_command('prepare.py')} --synthetic draws people instead of a download."
    )


def _wrong_folder(folder: Path, candidates: Sequence[KnownDataSet]) -> str:
    known_set = candidates[0] if len(candidates) == 1 else DATA_SETS["market"]
    expected = ", ".join(parts.replace("|", " or ") for parts in known_set.requires)
    others = (
        ""
        if len(candidates) == 1
        else f" as {known_set.name}, or those of another data set of {shipped('docs/datasets.md')}"
    )
    message = (
        f"--data_dir {folder}: found {found_in(folder)}; expected the folders {expected}{others}."
    )
    if (folder / TRAIN).is_dir() or (folder / PREPARED_RECORD).is_file():
        return f"{message} This folder is laid out already. Next: {next_command(folder)}"
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        if any(_has_parts(candidate, below) for candidate in candidates):
            return f"{message} They are in {below}: pass that folder."
    own = r' Images of your own: --pattern "(?P<id>[^/]+)/" for a folder of each identity.'
    return message if len(candidates) == 1 else message + own
