# PYTHON_ARGCOMPLETE_OK
"""Maintain an index of tools/search.py: describe, check, copy or move it, or change its network.

    python tools/gallery.py info --index people.index
    python tools/gallery.py check --index people.index                         # reads every byte
    python tools/gallery.py backup copy.index --index people.index             # others can write
    python tools/gallery.py relocate /old/crops /new/crops --index people.index
    python tools/gallery.py prune --index people.index                         # missing files
    python tools/gallery.py reindex --index people.index --name better         # another network

backup, relocate and reindex need a file; info, check and prune work for any gallery.
"""

import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.search import (
    GALLERY_COMMANDS,
    BackupConfig,
    CheckConfig,
    InfoConfig,
    PruneConfig,
    ReindexConfig,
    RelocateConfig,
)
from person_reid.console import parse_command, run_script
from person_reid.console.outputs import check_outputs
from person_reid.files import real, write_json
from person_reid.gallery.forgetting import FORGOTTEN_AT_ONCE
from person_reid.gallery.gallery import file_at, open_gallery
from person_reid.gallery.indexed_network import known_network
from person_reid.gallery.metadata import filters_of
from person_reid.gallery.upkeep import (
    back_up,
    facts_of_index,
    faults_of,
    gone,
    open_file,
    reindex_images,
    tools_of,
)
from person_reid.text import as_command, counted, printable

MOST_FAULTS = 20  # the most faults to print


def main(argv: list[str] | None = None) -> None:
    """Run a command."""
    name, config = parse_command(GALLERY_COMMANDS, argv, __doc__)
    WORK[name](config)


def info(config: InfoConfig) -> None:
    """Print and write a summary of an index."""
    check_outputs(config, json=[config.json])
    facts = facts_of_index(open_gallery(config.index, new=False))
    for name, value in facts.items():
        shown = value
        if name == "network":
            given = (value or {}).items()
            shown = [f"{key} {each}" for key, each in given if each not in (None, False)]
        if name == "forgotten":
            shown = [f"{each['images']} on {each['time']} by {each['asked']}" for each in value]
        if isinstance(shown, list):
            shown = ", ".join(shown)
        print(printable(f"{name}: {'-' if shown in (None, '') else shown}"))
    if config.json:
        write_json(config.json, facts)
        print(f"Written: {config.json}")


def check(config: CheckConfig) -> None:
    """Check an index. Prints the damage, if any, and then raises UserError."""
    index = open_gallery(config.index, new=False)
    faults = list(islice(faults_of(index), MOST_FAULTS))
    for fault in faults:
        print(printable(fault))
    if faults:
        raise reid.UserError(f"{config.index}: damaged; the lines above say where.")
    print(f"{config.index}: {counted(len(index), 'image')}, and no damage")
    if not file_at(config.index):
        print(printable(f"All rows and features were read; {tools_of(index)}."))


def backup(config: BackupConfig) -> None:
    """Write a copy of an index."""
    check_outputs(config, copy=[config.copy])
    index = open_file(config.index)
    back_up(index, config.copy)
    print(f"Written: {config.copy}")


def relocate(config: RelocateConfig) -> None:
    """Record where images, track files and weights are now."""
    old, new = map(real, config.places)
    count = open_file(config.index).store.relocate(old, new)
    print(f"{config.index}: {counted(count, 'image')} of {old} now in {new}")


def prune(config: PruneConfig) -> None:
    """Forget the images whose files are gone."""
    index = open_gallery(config.index, new=False)
    paths = gone(index)
    if paths and len(paths) == len(index):
        raise reid.UserError(
            f"{config.index}: none of its images is there, such as {paths[0]}. Have they moved? "
            f"{as_command('tools/gallery.py')} relocate OLD NEW --index FILE"
        )
    count = sum(index.forget(some, "prune") for some in filters_of(paths, FORGOTTEN_AT_ONCE))
    print(f"{config.index}: {counted(count, 'image')} forgotten, {len(index)} left")


def reindex(config: ReindexConfig) -> None:
    """Replace the features in an index with features from another network."""
    index = open_file(config.index)
    count = reindex_images(index, config)
    print(f"{config.index}: {counted(count, 'image')} with features of {known_network(index)}")
    index.prepare()


WORK: dict[str, Callable[[Any], None]] = {
    "info": info,
    "check": check,
    "backup": backup,
    "relocate": relocate,
    "prune": prune,
    "reindex": reindex,
}


if __name__ == "__main__":
    run_script(main)
