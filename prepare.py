# PYTHON_ARGCOMPLETE_OK
r"""Lay out a data set for training and testing, or draw one.

    python prepare.py                                         # finds ../Market and others
    python prepare.py --data_dir ~/data/DukeMTMC-reID         # makes ~/data/DukeMTMC-reID/pytorch
    python prepare.py --dataset market --download             # fetches it: research only
    python prepare.py --dataset msmt17_v2                     # see docs/datasets.md
    python prepare.py --synthetic                             # draws people: no download
    python prepare.py --synthetic --walks                     # draws videos and their tracks
    python prepare.py --csv FILE                              # your images, listed
    python prepare.py --dataset mot --data_dir MOT17/train    # people in tracked videos
    python prepare.py --data_dir FOLDER --pattern "(?P<id>\d+)_c(?P<camera>\d+)"
    python prepare.py --data_dir mine/pytorch --corrections label_errors.csv
    python prepare.py --data_dir mine/pytorch --check         # what training and test share

The result is <save_dir>/{train,val,train_all,query,gallery,multi-query}/<identity>/<image>: hard
links if the file system allows them, otherwise copies. The download is never moved, changed or
deleted, and a second run changes nothing. A download that holds only query and gallery is laid out
for testing.
"""

from pathlib import Path

import person_reid as reid
from person_reid.config.prepare import PrepareConfig
from person_reid.console import parse, run_script
from person_reid.data.datasets import DATA_SETS, KnownDataSet
from person_reid.data.downloads import fetch_data_set, with_flags
from person_reid.data.layout import next_command
from person_reid.data.leakage import describe_leakage
from person_reid.data.own.corrections import corrected
from person_reid.data.summary import describe_layout, describe_unlabelled
from person_reid.files import check_way, real
from person_reid.text import as_command, printable, quoted

DEMO = " --train_all --config recipes/demo.yaml"  # minutes on a laptop


def main(argv: list[str] | None = None) -> None:
    """Lay out the data set that the options name, or draw one."""
    config = parse(PrepareConfig, argv, __doc__)
    if config.check and config.data_dir:
        say(*describe_leakage(config.data_dir, reid.find_leakage(config.data_dir)))
        return
    if config.walks:
        draw_videos(config)
        return
    data_set, download, save_dir = choose(config)
    if data_set.read is None:
        say(*describe_unlabelled(data_set, download))
        return

    # Lay them out, and print what is there now.
    done = reid.lay_out(data_set, download, save_dir)
    counts = ", ".join(f"{number:,} {what}" for what, number in done.items())
    command = next_command(save_dir, DEMO if config.synthetic else "")
    say(
        f"{data_set.name}: {download} -> {save_dir}",
        counts,
        *describe_layout(data_set, save_dir),
        *([f"Next: {command}"] if command else []),
    )


def choose(config: PrepareConfig) -> tuple[KnownDataSet, Path, Path]:
    """Return the data set, the folder of its images and the folder of its layout.

    The images are found, fetched or drawn.
    """
    if config.save_dir:
        check_way(config.save_dir)
    folder, name = config.data_dir, config.dataset
    if config.corrections and folder:
        layout = Path(config.save_dir or f"{real(folder)}_corrected")
        return corrected(config.corrections), Path(folder), layout
    if config.synthetic:
        folder, name = draw(config), "synthetic"
    elif config.download and name:
        folder = str(fetch_data_set(name, folder))
    elif config.csv:
        folder, name = folder or str(Path(config.csv).parent), name or "csv"
    elif config.pattern:
        name = name or "folder"
    data_set, download = reid.find_data_set(folder, name)
    # A download found without --data_dir goes where train.py and test.py look for it.
    layout = Path(config.save_dir or Path(folder or data_set.locations[0], "pytorch"))
    return with_flags(data_set, config.reading), download, layout


def draw(config: PrepareConfig) -> str:
    """Draw synthetic people, and return the folder of their pictures."""
    folder = config.data_dir or DATA_SETS["synthetic"].locations[0]
    drawn = reid.draw_data_set(folder, **config.drawing)
    if drawn:
        say(f"drew {drawn:,} pictures in {folder}")
    else:
        say(f"all pictures are in {folder} already")
    return folder


def draw_videos(config: PrepareConfig) -> None:
    """Draw synthetic people who walk through cameras' views."""
    folder, given = config.data_dir or "data/walks", config.drawing
    if "train_identities" in given:
        given["identities"] = given.pop("train_identities")
    drawn = reid.draw_walks(folder, **given)
    camera = quoted(Path(folder, "cam1"))
    say(
        f"drew {drawn:,} frames in {folder}: of each camera img1, gt/gt.txt and tracks.txt",
        f"Next: {as_command('tools/search.py')} index --tracks {camera}/tracks.txt --frames "
        f"{camera}/img1 --camera cam1 --index walks.index",
    )


def say(*lines: str) -> None:
    """Print lines, replacing characters that a terminal cannot show."""
    print(printable("\n".join(lines)))


if __name__ == "__main__":
    run_script(main)
