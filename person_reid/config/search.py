"""The commands of tools/search.py and tools/gallery.py, and their options."""

from person_reid.config.forms import file_ending_in, picture_file, printable_text
from person_reid.config.look import THRESHOLD, Look
from person_reid.config.option import (
    ANY,
    FRAME_RATE,
    POSITIVE,
    SHARE,
    WHOLE,
    Options,
    option,
    redeclared,
)
from person_reid.config.prepare import TrackOptions
from person_reid.config.run import DeviceOptions, PluginOptions
from person_reid.config.tested import EngineOptions, ExtractionOptions, UsedNetwork
from person_reid.config.times import ago, instant, moment

# How the lists of an index hold features, from the smallest.
CODE_NAMES = ("pq64", "sq8", "float16", "float32")
COLUMNS_HELP = "columns path,identity,camera,time,track,source, any that are known"


def age(text: str) -> str:
    """Check an age, such as 12h, 30d or 4w."""
    ago(text)
    return text


def pair(text: str) -> str:
    """Check a value of --where, such as store=3."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError("expected NAME=VALUE, such as store=3")
    return printable_text(text)


def part(text: str) -> str:
    """Check a part of the images, such as 3/10."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError("expected I/N, such as 3/10: the third of ten parts")
    return text


def _only(name: str) -> str | None:
    """Declare a filter for a person, a camera, a track or a source."""
    filtered: str | None = option(
        None, f"only images of this {name}", form=printable_text, metavar="NAME"
    )
    return filtered


class GalleryOptions(PluginOptions, title="index"):
    """The index to use."""

    index: str = option(
        "", "index file, or postgresql://HOST/DATABASE/NAME", metavar="FILE", required=True
    )


class PeriodOptions(GalleryOptions, title="only some images"):
    """The period of the images to use."""

    after: str | None = option(
        None,
        "only what was seen from this time on: 2026-11-01T09:30, which is local, or "
        "2026-11-01T08:30Z",
        form=moment,
        metavar="TIME",
    )
    before: str | None = option(
        None, "only what was seen before this time", form=moment, metavar="TIME"
    )


class FilterOptions(PeriodOptions, title="only some images"):
    """The images to use from the index: those that match all options."""

    identity: str | None = _only("identity")
    camera: str | None = _only("camera")
    track: str | None = _only("track")
    source: str | None = _only("source")
    where: tuple[str, ...] = option(
        (),
        "only images with these values of further columns, as in store=3",
        form=pair,
        several="+",
        metavar="NAME=VALUE",
    )


class IndexedImageOptions(ExtractionOptions, title="images"):
    """The images to read."""

    images: tuple[str, ...] = option(
        (),
        "images, or folders of them at any depth",
        several="+",
        positional=True,
        metavar="IMAGE",
    )


class NetworkOfIndex(
    ExtractionOptions, EngineOptions, UsedNetwork, GalleryOptions, title="features"
):
    """The network that computes the features of an index."""

    no_flip: bool = option(False, "skip the mirrored image: twice as fast")
    # The index may remember the exported file that these describe.
    range: str | None = redeclared(EngineOptions, "range", None, needs={})
    mean: str | None = redeclared(EngineOptions, "mean", None, needs={})
    std: str | None = redeclared(EngineOptions, "std", None, needs={})
    feature_output: str | None = redeclared(EngineOptions, "feature_output", None, needs={})
    bgr: bool = redeclared(EngineOptions, "bgr", False, needs={})


class AddOptions(IndexedImageOptions, NetworkOfIndex, title="features"):
    """The images to add to an index, and the network that computes its features."""

    allow_forgotten: bool = option(False, "also add images and tracks that were forgotten once")


class TrackFileOptions(Options, title="people found by a tracker, in place of images"):
    """The track file to read, and its camera, frames and times."""

    tracks: str | None = option(
        None,
        "track file in MOTChallenge's format, or folder of labels by Ultralytics",
        metavar="FILE",
    )
    frames: str | None = option(
        None, "its video, or folder of frames", metavar="VIDEO", needs={"tracks": ANY}
    )
    camera: str | None = option(
        None, "its camera", form=printable_text, metavar="NAME", needs={"tracks": ANY}
    )
    fps: float | None = option(
        None,
        "frames per second that the tracker processed (default: the video's)",
        range=FRAME_RATE,
        needs={"tracks": ANY},
    )
    start: str | None = option(
        None,
        "time of the first frame: 2026-11-01T09:30:00.5, which is local, or 2026-11-01T08:30:00.5Z",
        form=instant,
        metavar="TIME",
        needs={"tracks": ANY},
    )
    classes: str | None = redeclared(TrackOptions, "classes", None, needs={"tracks": ANY})
    format: str | None = redeclared(TrackOptions, "format", None, needs={"tracks": ANY})
    first_frame: int | None = option(
        None,
        "number of the first frame in the track file: 0 or 1 (default: judged by names and boxes)",
        range=WHOLE,
        needs={"tracks": ANY},
    )
    per_track: int = option(8, "images per track", range=POSITIVE, needs={"tracks": ANY})
    crops: str | None = option(
        None,
        "folder for these images (default: people.crops for people.index)",
        metavar="FOLDER",
        needs={"tracks": ANY},
    )


class IndexConfig(TrackFileOptions, AddOptions, title="what is known about the images"):
    """Add images, folders of images, or people found by a tracker to an index."""

    images: tuple[str, ...] = redeclared(IndexedImageOptions, "images", (), several="*")
    about: str | None = option(None, COLUMNS_HELP, metavar="CSV")
    pattern: str | None = option(
        None,
        "regular expression for names, with groups of id, camera, track, source",
    )
    part: str | None = option(
        None,
        "only part I of N of the images, for N processes or machines",
        form=part,
        metavar="I/N",
    )
    skip_unreadable: bool = option(False, "list unreadable images, and continue without them")
    codes: str | None = option(
        None,
        f"how a new index holds features, the smallest first (default: {CODE_NAMES[0]})",
        choices=CODE_NAMES,
    )

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        if not self.tracks:
            return "" if self.images else "Give images or folders of images, or tracks=FILE."
        if self.images or self.about or self.pattern or self.part:
            return (
                "tracks excludes images, about, pattern and part: "
                "the images are cut from the frames, and the track file says what is known."
            )
        return "" if self.frames else "tracks needs frames: its video or folder of frames."


class PersonOptions(Options, title="person"):
    """The person in the images."""

    person: str = option(
        "",
        "the person; more images may follow later",
        form=printable_text,
        positional=True,
        metavar="NAME",
    )


class EnrollConfig(AddOptions, PersonOptions, title="person"):
    """Add images of a known person, so that identify can name that person."""

    another: bool = option(
        False, "this is another person with nearly the same name, such as Anna and anna"
    )


class AnswerOptions(IndexedImageOptions, FilterOptions, title="answers"):
    """The comparison of an image with the indexed images, and the files for the answers."""

    gpu_ids: str = redeclared(DeviceOptions, "gpu_ids", "0", help="GPU to use; -1 for the CPU")
    threshold: str | None = option(None, f"lowest similarity of a match: {THRESHOLD}")
    camera_norm: bool = option(
        False, "give the features of every camera the same mean; all images are then compared"
    )
    query_camera: str | None = option(
        None,
        "camera that took the images (default: as the index records); implies --camera_norm",
        form=printable_text,
        metavar="NAME",
    )
    json: str | None = option(
        None, "file to write the answers to", form=file_ending_in(".json"), metavar="FILE"
    )

    @property
    def normalized(self) -> bool:
        """Whether to give the features of all cameras the same mean."""
        return self.camera_norm or self.query_camera is not None


class QueryConfig(Look, AnswerOptions, title="answers"):
    """Find the images most similar to an image, or to each image in a folder."""

    top: int = option(10, "number of answers", range=POSITIVE)
    save: str | None = option(
        None, "sheet of the answers to draw", form=picture_file, metavar="FILE"
    )

    def fault(self) -> str:
        """Return which options would be ignored because no sheet is drawn, or an empty string."""
        return "" if self.save else self.ignored_without("save")


class IdentifyConfig(AnswerOptions, title="answers"):
    """Name the person in each image, if the index has that person."""

    together: bool = option(False, "all images show one person, as in a track")


class PeopleConfig(Look, FilterOptions, title="groups"):
    """Group the images in an index into people, and write a list to correct and then apply."""

    save: str = option("people.csv", "list to write", form=file_ending_in(".csv"), metavar="CSV")
    sheet: str | None = option(
        None, "sheet of the largest and most doubtful groups", form=picture_file, metavar="FILE"
    )
    radius: float = option(0.5, "largest Jaccard distance of neighbours", range=SHARE)
    min_samples: int = option(4, "neighbours needed to begin a group", range=POSITIVE)
    threshold: str | None = option(
        None,
        "lowest score at which an image gets a known person's name: a number, or a file from "
        "tools/threshold.py --for person (default: measured on the people with names)",
        metavar="THRESHOLD",
    )

    def fault(self) -> str:
        """Return which options would be ignored because no sheet is drawn, or an empty string."""
        return "" if self.sheet else self.ignored_without("sheet")


class ApplyConfig(GalleryOptions, title="list"):
    """Record the people in images, from a list written by the command `people`."""

    table: str = option("", COLUMNS_HELP, positional=True, metavar="CSV")


class ForgetConfig(FilterOptions, title="only some images"):
    """Delete images from an index, so that no trace of them is left in its files."""

    image: str | None = option(None, "only this image", metavar="FILE")
    expire: str | None = option(
        None, "only images older than 12h, 30d or 4w", form=age, metavar="AGE"
    )
    keep_crops: bool = option(False, "keep the image files that index --tracks cut")


class InfoConfig(GalleryOptions, title="output"):
    """Print a summary of an index: network, images, cameras, version, lists and size."""

    json: str | None = option(
        None, "file to write it to as well", form=file_ending_in(".json"), metavar="FILE"
    )


class CheckConfig(GalleryOptions):
    """Read every byte of an index, and report damage."""


class BackupConfig(GalleryOptions, title="copy"):
    """Write a consistent copy of an index, even while others search and add."""

    copy: str = option("", "the file to write", positional=True, metavar="FILE")


class RelocateConfig(GalleryOptions, title="places"):
    """Record that images, track files and weights have moved."""

    places: tuple[str, ...] = option(
        (),
        "old and new path of a folder or file",
        several=2,
        positional=True,
        metavar="PLACE",
    )


class PruneConfig(GalleryOptions):
    """Forget the images whose files are gone."""


class ReindexConfig(NetworkOfIndex):
    """Replace the features of an index with another network's, and keep everything else."""

    def fault(self) -> str:
        """Return a message if no network is named, otherwise an empty string."""
        named = self.name or self.weights or self.from_run or self.engine
        return "" if named else "Name the network: name, weights, from_run or engine."


SEARCH_COMMANDS: dict[str, type[GalleryOptions]] = {
    "index": IndexConfig,
    "query": QueryConfig,
    "enroll": EnrollConfig,
    "identify": IdentifyConfig,
    "people": PeopleConfig,
    "apply": ApplyConfig,
    "forget": ForgetConfig,
}
GALLERY_COMMANDS: dict[str, type[GalleryOptions]] = {
    "info": InfoConfig,
    "check": CheckConfig,
    "backup": BackupConfig,
    "relocate": RelocateConfig,
    "prune": PruneConfig,
    "reindex": ReindexConfig,
}
