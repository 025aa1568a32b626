"""Check that the files a command writes differ from one another and from the files it reads."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from person_reid.config.tested import CONFIG_FILE
from person_reid.data.images.image_files import PREPARED_RECORD
from person_reid.errors import UserError
from person_reid.files import check_target, real


def check_outputs(
    options: object, reads: Iterable[str | Path] = (), **writes: Iterable[str | Path | None]
) -> None:
    """Reject output files if two of them are the same, or if the command reads one of them.

    Every script that writes files calls this before the work, and again if what it reads is known
    only later. Two paths are the same file if links, hard links or `..` lead from both to it.

    options: the flags, a Namespace or a configuration; every value that names a file is read,
        unless the flag is in `writes`.
    reads: files that no flag names, such as the images of a gallery.
    writes: {flag: files}, as in json=[options.json]; None is a file that was not requested.

    Raises UserError, or OSError if one of the files cannot be written.
    """
    targets = [
        (flag, Path(path)) for flag, paths in writes.items() for path in paths if path is not None
    ]
    there: dict[object, tuple[str, Path]] = {}
    for flag, path in targets:
        other, same = there.setdefault(identity(path), (flag, path))
        if same is not path:
            raise UserError(
                f"{flag}={path}: {other} writes this file. Choose two names that differ."
            )
    if any(path.exists() for _, path in targets):
        named = (
            path
            for flag, value in vars(options).items()
            if flag not in writes
            for path in files_in(value)
        )
        for source in (*named, *reads):
            flag, path = there.get(identity(source), ("", Path()))
            if flag:
                raise UserError(
                    f"{flag}={path}: this command reads that file. Choose another name."
                )
    for _, path in targets:
        check_target(path)


def check_beside(flag: str, named: Path, *beside: Path) -> None:
    """Refuse to replace unrelated files beside the file that a flag names.

    The command writes files of these names along with the named file. They count as the command's
    own if the named file also exists. Raises UserError otherwise.
    """
    there = [path for path in beside if path.exists()]
    if there and not named.exists():
        raise UserError(
            f"{flag}={named}: {there[0]}, which goes along with it, "
            "is there already and does not belong to it. Move it, or choose another name."
        )


def identity(path: str | Path) -> object:
    """Return a value shared by all paths to a file; case is ignored if the file does not exist yet.

    Devices and pipes never count as the same file, because many may write to them.
    """
    try:
        status = Path(path).stat()
    except OSError:
        return str(real(path)).casefold()
    except ValueError:  # text of a flag that cannot be a path
        return object()
    regular = Path(path).is_file() or Path(path).is_dir()
    return (status.st_dev, status.st_ino) if regular else object()


def files_in(value: Any) -> Iterator[str | Path]:
    """Yield the paths that a flag's value may name.

    These are the value itself, each element of a list, or the file in `BACKBONE=FILE` or `NET.onnx
    --bgr`, and for a folder, the files in it that describe a network or a layout.
    """
    if isinstance(value, list | tuple):
        for part in value:
            yield from files_in(part)
    elif isinstance(value, str | Path):
        for path in {str(value), *re.split(r"[\s,=]+", str(value))}:
            yield from (path, Path(path, CONFIG_FILE), Path(path, PREPARED_RECORD))
