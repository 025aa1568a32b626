"""The options of prepare.py, and which of them conflict."""

from typing import Any

from person_reid.config.forms import output_path
from person_reid.config.option import FRACTION, POSITIVE, SEED, Options, option
from person_reid.config.run import PluginOptions

DATA_SET_NAMES = [  # as in data/datasets.py
    "market", "duke", "synthetic", "market_500k", "cuhk03_detected", "cuhk03_labeled",
    "cuhk03_original_detected", "cuhk03_original_labeled", "msmt17_v1", "msmt17_v2", "viper",
    "lpw", "dg_market", "mars", "lsvid", "ltcc", "prcc", "veri", "vehicleid_2400",
    "vehicleid_1600", "vehicleid_800", "cub", "university", "university_satellite", "folder",
    "csv", "mot",
]  # fmt: skip
TRACK_FORMAT_NAMES = [  # as in data/video/track_files.py
    "mot", "mot15", "boxmot", "boxmot_eval", "ultralytics", "ultralytics_conf",
]  # fmt: skip
DRAWN = ("train_identities", "test_identities", "cameras", "images", "distractors", "junk")
PICTURE_OPTIONS = ("save_dir", "test_identities", "images", "distractors", "junk")  # not for walks
READ = ("pattern", "csv", "test_fraction", "min_visibility", "frame_stride", "classes", "format")


class LayoutOptions(PluginOptions, title="layout"):
    """The data set to lay out, and the folder of the layout."""

    data_dir: str | None = option(
        None, "folder of the download (default: looked for in the usual places)"
    )
    save_dir: str | None = option(
        None,
        "folder of the layout (default: pytorch, in the folder of the download)",
        form=output_path,
    )
    dataset: str | None = option(
        None,
        "name of the data set (default: recognised by its files)",
        names=DATA_SET_NAMES,
        metavar="NAME",
    )
    download: bool = option(
        False, "first download the data set --dataset, unless it is there (only Market-1501)"
    )
    seed: int | None = option(
        None, "another seed draws other people, or another random split", range=SEED
    )
    corrections: str | None = option(
        None,
        "list from tools/label_errors.py; the layout --data_dir is copied with the corrections "
        "it accepts",
        metavar="FILE",
    )
    check: bool = option(
        False,
        "only report the identities and images of the layout --data_dir that are in both training "
        "and test",
    )


class OwnOptions(Options, title="your own data set"):
    """The naming and the split of the user's images."""

    pattern: str | None = option(
        None,
        "regular expression with the groups id and, if names give them, camera, track, clothes",
    )
    csv: str | None = option(
        None, "list of the images, with columns path,identity,camera,split,clothes", metavar="FILE"
    )
    test_fraction: float | None = option(
        None, "share of identities to test on, if not split yet (default: 0.5)", range=FRACTION
    )


class TrackOptions(Options, title="tracked videos (--dataset mot)"):
    """The boxes in tracked videos that become images."""

    min_visibility: float | None = option(
        None, "least visibility of a box, 0 to 1 (default: 0.5)", range=FRACTION
    )
    frame_stride: int | None = option(
        None,
        "read every Nth frame (default: 10)",
        range=POSITIVE,
        metavar="FRAMES",
    )
    classes: str | None = option(
        None,
        "classes of boxes to cut out (default: people, which MOTChallenge calls 1,2,7 and COCO 0)",
        metavar="N,N",
        flags=("--class", "--classes"),
    )
    format: str | None = option(
        None,
        "format of the track files (default: recognised by their lines)",
        choices=TRACK_FORMAT_NAMES,
    )


class DrawingOptions(Options, title="synthetic people"):
    """The number of people to draw, and of images per person."""

    synthetic: bool = option(False, "draw a data set instead of reading a download")
    walks: bool = option(
        False,
        "draw videos instead: people walk through the views of several cameras, and a tracker "
        "makes mistakes (default: 60 people, 3 cameras, in data/walks)",
    )
    train_identities: int | None = option(
        None, "people to train on (default: 200)", flags=("--identities",)
    )
    test_identities: int | None = option(None, "other people, to test on (default: 50)")
    cameras: int | None = option(None, "cameras, each of which sees everybody (default: 6)")
    images: int | None = option(None, "pictures of each person by each camera (default: 3)")
    distractors: int | None = option(None, "pictures of strangers in the gallery (default: 300)")
    junk: int | None = option(None, "badly cropped pictures in the gallery (default: 100)")


class PrepareConfig(DrawingOptions, TrackOptions, OwnOptions, LayoutOptions):
    """All options of prepare.py."""

    @property
    def drawing(self) -> dict[str, Any]:
        """The arguments for draw_data_set that the user gave."""
        return self.not_default((*DRAWN, "seed"))

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments for a data set's reader that the user gave."""
        return self.not_default((*READ, *(() if self.synthetic else ("seed",))))

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        drawn, read = ", ".join(self.not_default(("walks", *DRAWN))), ", ".join(self.reading)
        beside = self.dataset or self.synthetic or read
        if drawn and not self.synthetic:
            return f"{drawn} would be ignored without synthetic, which draws people."
        if self.download and (not self.dataset or self.synthetic or self.corrections):
            return "download fetches the data set that dataset names, such as market."
        if self.check and not self.data_dir:
            return "check needs data_dir=LAYOUT, a folder that prepare.py has made."
        if self.check and (beside or self.save_dir or self.corrections):
            return "check only reads a layout: give no option beside it but data_dir."
        if self.synthetic and read:
            reason = "people are drawn, or images are read"
            return f"synthetic and {read} exclude each other: {reason}."
        if self.synthetic and self.dataset not in (None, "synthetic"):
            return "synthetic and dataset exclude each other: synthetic is the data set."
        if self.walks and (pictures := ", ".join(self.not_default(PICTURE_OPTIONS))):
            return f"{pictures} would be ignored: walks draws videos, and lays nothing out."
        if self.corrections and not self.data_dir:
            return "corrections needs data_dir=LAYOUT, the folder that the list was made from."
        if self.corrections and beside:
            return (
                "corrections changes a layout: give no option beside it but data_dir and save_dir."
            )
        return ""
