# PYTHON_ARGCOMPLETE_OK
"""Find out who is in one or more videos: detect, track, embed and link people.

    python tools/people.py shop1.mp4 shop2.mp4 --save shop
    python tools/people.py --camera door=shop1.mp4 till=shop2.mp4 --every 3 --save shop
    python tools/people.py shop1.mp4 shop2.mp4 --start 2026-11-01T09:30 --travel travel.csv
    python tools/people.py shop1.mp4 shop2.mp4 --save shop --corrections corrections.csv
    python tools/people.py shop1.mp4 --detector yolox_s.onnx --new_score 0.5
    python tools/people.py shop1.mp4 shop2.mp4 --tracks shop1.mp4=1.txt shop2.mp4=2.txt
    python tools/people.py monday.mp4 --index people.index --save monday     # a gallery that grows
    python tools/people.py monday.mp4 --index people.index --after 2026-11-02 --before 2026-11-03
    python tools/people.py --camera door=rtsp://10.0.0.7/main till=0 --save shop      # live cameras

The folder gets people.png, which shows who was where and when, and people.index, the gallery of all
people. Its folder result gets people.html, a page for cutting links, joining tracks and naming
people, the most doubtful first; people.csv with a line for every track; counts.csv with the number
of people for each day and camera; the track files with the same identities in all of them; and,
with --video, an annotated copy of each video in this call. Videos of live cameras are written
during the recording. An interrupted call resumes: a video that has been tracked is not read again.
Two tracks of one camera that overlap by more than a second are two people. With --travel, so are
two tracks of two cameras with less time between them than the walk takes.

Streams and webcams are live: a line reports who appears as soon as a few images show it, and
another line follows if later images correct it. Ctrl-C ends the streams and writes the files.
--live plays videos in the same way.
"""

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from PIL.Image import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.people import VideosConfig
from person_reid.config.search import IndexConfig, NetworkOfIndex
from person_reid.config.times import EPOCH, parsed, written
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.data.video.frames import (
    FrameFolder,
    Video,
    name_of_frames,
    open_frames_with_rate,
    usual_step,
)
from person_reid.data.video.streams import is_stream
from person_reid.data.video.video_files import Frame
from person_reid.files import (
    as_file_name,
    check_folder,
    checksum_of,
    only_writer,
    real,
    write_text,
)
from person_reid.gallery.adapted_network import (
    adaptation_of,
    check_tracks,
    keep_adapted,
    with_adapted,
)
from person_reid.gallery.gallery import growing_gallery
from person_reid.gallery.indexed_network import measured_on
from person_reid.gallery.indexed_tracks import indexed_tracks
from person_reid.gallery.indexing import index_tracks
from person_reid.gallery.linked_tracks import begin_of, in_words, link_indexed, record_people
from person_reid.gallery.live_gallery import LiveGallery, open_live
from person_reid.gallery.people_folder import (
    PEOPLE_MARK,
    PICTURE,
    VIDEOS_MARK,
    check_track_names,
    lines_of_people,
    write_people_folder,
)
from person_reid.gallery.people_videos import draw_marks, open_video
from person_reid.gallery.track_records import recorded_tracks
from person_reid.show.lanes import draw_lanes
from person_reid.text import composed, counted
from person_reid.video.detectors import CheckedDetector
from person_reid.video.live import FrameResult
from person_reid.video.tracked_video import check_replaced, content_hash, track_video
from tools.adapt import adapt

LINKED_FOLDER = "result"
STREAM_RATE = 25.0  # approximate frames per second of the video of a live camera
WHOLE = "frag_keyframe+empty_moov"  # so that the video of a killed call can be played


@dataclass(frozen=True)
class Shot:
    """A video on the command line: its camera, its start, and its track file if one is given."""

    video: Path
    camera: str
    start: str | None
    tracks: str | None


def main(argv: list[str] | None = None) -> None:
    """Track each video, add its people to a gallery, link them, and write the results."""
    config = parse(VideosConfig, argv, __doc__)
    shots = list_shots(config)
    live = config.live or any(is_stream(address) for _, address in named_videos(config))
    check_places(config, shots, live)
    if live:
        follow(config, shots)
        return
    frames = [open_frames_with_rate(shot.video, config.fps) for shot in shots]
    detector = cache(partial(reid.open_detector, config, reid.select_device(config.gpu_ids)))
    if not all(shot.tracks for shot in shots):
        detector()  # rejects a file that is not a detector before the work

    folder = Path(config.save)
    with only_writer(folder / ".lock", config.save):
        write_text(folder / VIDEOS_MARK, "")
        with growing_gallery(config.gallery) as index:
            config = with_adapted(index, config) if config.adapt else config
            embedder = reid.open_network(index, config)  # rejects a missing network before the work
            steps = [config.every or usual_step(each.fps or 0) for each in frames]
            counts = [-(-each.about // step) for each, step in zip(frames, steps, strict=True)]
            for i, (shot, its_frames) in enumerate(zip(shots, frames, strict=True)):
                among = sum(counts[:i]), sum(counts)
                parts = config, shot, its_frames, detector, index, embedder, steps[i], among
                tracks = shot.tracks or track(*parts)
                if tracks:
                    add_shot(index, config, shot, its_frames, tracks, embedder)
            index.prepare()
            if config.adapt and len(index):
                adapt_network(index, config)
            link_people(index, config)


def adapt_network(index: reid.Gallery, config: VideosConfig) -> None:
    """Adapt a gallery's network to the images of its tracks, unless it is already adapted."""
    from person_reid.training.adaptation import started  # loads torch

    if options := adaptation_of(index, config, config.save):
        try:
            check_tracks(index)
            begun = started(options)
            reid.check_training(begun)
            fault = adapt(begun, reid.World())
            keep_adapted(index, config, options, fault)
        except reid.UserError as error:  # such as too few tracks
            fault = str(error)
        print(f"{config.save}: the network {f'stays: {fault}' if fault else 'was adapted'}")


def named_videos(config: VideosConfig) -> list[tuple[str, str]]:
    """Return (camera, path or address) for each video or stream."""
    named = [(name_of_frames(Path(video)), video) for video in config.videos]
    return named + [(name, video) for name, _, video in (e.partition("=") for e in config.camera)]


def list_shots(config: VideosConfig) -> list[Shot]:
    """Return the videos that the options name. Raises UserError if the options conflict."""
    named = named_videos(config)
    videos = [video for _, video in named]
    if len({real(video) for video in videos}) < len(videos):
        raise reid.UserError("A video is named twice. Name each once, or its camera alone.")
    for camera, count in Counter(name_of_frames(Path(video)) for video in config.videos).items():
        if count > 1:
            print(
                f"{count} videos are called {camera} and count as one camera. If they are of "
                "several, name each: --camera NAME=VIDEO"
            )
    starts = of_videos(config.start, videos)
    tracks = of_videos(config.tracks, videos)
    if tracks.get("") and len(videos) > 1:
        raise reid.UserError(f"tracks={tracks['']}: of which video? --tracks VIDEO=FILE")

    shots = [
        Shot(Path(video), camera, *(each.get(video) or each.get("") for each in (starts, tracks)))
        for camera, video in named
    ]
    unused = ("every", *reid.DetectorOptions.declared(), *reid.TrackerOptions.declared())
    if all(shot.tracks for shot in shots) and (ignored := config.not_default(unused)):
        raise reid.UserError(f"{', '.join(ignored)} would be ignored: all videos have tracks.")
    return shots


def of_videos(values: Iterable[str], videos: list[str]) -> dict[str, str]:
    """Return {video: value} from strings such as VIDEO=VALUE; "" means all videos."""
    found: dict[str, str] = {}
    for value in values:
        typed = composed(value)
        video = max((v for v in videos if typed.startswith(f"{composed(v)}=")), key=len, default="")
        if video in found:
            raise reid.UserError(f"{value}: there are two values for {video or 'all videos'}.")
        found[video] = value.split("=", video.count("=") + 1)[-1] if video else value
    return found


def check_places(config: VideosConfig, shots: list[Shot], live: bool) -> None:
    """Raise UserError or OSError if the output cannot be written."""
    folder = Path(config.save)
    # a call that is killed early leaves a lock, or half of the mark
    there = [path for path in folder.glob("*") if not path.name.startswith(".")]
    if there and not (folder / VIDEOS_MARK).exists():
        raise reid.UserError(
            f"save={folder}: holds something that this command did not write. "
            "Choose another folder."
        )
    read = [path for shot in shots for path in (shot.video, shot.tracks) if path]
    written = [] if folder.is_dir() else [folder]
    check_outputs(config, read, save=written)
    unknown = [shot.video for shot in shots if not (shot.start or live)]
    if config.travel and unknown:
        raise reid.UserError(f"travel: nobody knows when {unknown[0]} begins. Give its --start")
    for file in (config.travel, config.corrections, *(shot.tracks for shot in shots)):
        if file and not Path(file).exists():
            raise reid.UserError(f"{file}: no such file.")
    check_folder(folder / LINKED_FOLDER, PEOPLE_MARK)


def add_shot(
    index: reid.Gallery,
    config: VideosConfig,
    shot: Shot,
    frames: FrameFolder | Video,
    tracks: str,
    embedder: reid.Embedder,
) -> None:
    """Add the people in a video to a gallery, using the video's track file."""
    facts: dict[str, str | int | None] = {"format": config.format}
    if tracks != shot.tracks:
        facts = {"format": "mot", "first_frame": frames.first + frames.zero - 1}
    same = (*NetworkOfIndex.declared(), "per_track", "fps")
    options = IndexConfig(
        **{name: getattr(config, name) for name in same}
        | {"index": config.gallery, "tracks": tracks, "frames": str(shot.video)}
        | {"camera": shot.camera, "start": shot.start, **facts}
    )
    added = index_tracks(index, options, embedder)
    print(
        f"{shot.video}: {counted(added.tracks, 'track')} of camera {shot.camera}, "
        f"{counted(added.new + added.known, 'image')}, {added.new} of them new"
    )


def track(
    config: VideosConfig,
    shot: Shot,
    frames: FrameFolder | Video,
    detector: Callable[[], CheckedDetector],
    index: reid.Gallery,
    embedder: reid.Embedder,
    step: int,
    among: tuple[int, int],
) -> str | None:
    """Return a video's track file, after writing it if necessary, or None if nobody was found."""
    digest = content_hash(shot.video)
    name = f"{as_file_name(name_of_frames(shot.video))}-{digest[:8]}.txt"
    path = Path(config.save) / "tracks" / name
    check_replaced(shot.video, path)
    decisive = (*reid.DetectorOptions.declared(), *reid.TrackerOptions.declared(), "fps")
    made_of = {name: getattr(config, name) for name in decisive} | {"video": digest}
    if Path(config.detector).is_file():
        made_of["detector_sha256"] = checksum_of(config.detector)
    embed = None
    if config.appearance:
        # the tracks stay those of the original network, even if the index is adapted later
        network = [*measured_on(index), index.recall("probe")]
        made_of["network"] = index.remember({"tracked_by": network})["tracked_by"]
        embed = partial(embedder, description="")
    found = track_video(
        frames,
        open_detector=detector,
        tracker=reid.Tracker(config),
        path=path,
        made_of=made_of,
        every=step,
        embed=embed,
        among=among,
    )
    print(
        f"{shot.video}: {counted(found.tracks, 'track')} of {counted(found.boxes, 'box', 'boxes')} "
        f"in {counted(found.frames, 'frame')}"
    )
    return str(path) if found.tracks else None


def follow(config: VideosConfig, shots: Sequence[Shot]) -> None:
    """Report who appears in live cameras until Ctrl-C, SIGTERM, or the end of all videos."""
    unused = ("tracks", "per_track", "corrections", "adapt")
    if given := config.not_default(unused):
        raise reid.UserError(f"{', '.join(given)} would be ignored: cameras are live.")
    addresses = dict(named_videos(config))
    if len(addresses) < len(shots):
        raise reid.UserError("Two cameras have one name. Name them: --camera NAME=ADDRESS")
    for address in addresses.values():
        if not (is_stream(address) or Path(address).exists()):
            raise reid.UserError(f"{address}: no such video, and not an address of a camera.")
    starts = {
        shot.camera: (parsed(shot.start) - EPOCH).total_seconds() for shot in shots if shot.start
    }
    streams = reid.Streams(addresses, config.every, starts, config.fps)
    detector = reid.open_detector(config, reid.select_device(config.gpu_ids))
    folder = Path(config.save)
    with only_writer(folder / ".lock", config.save):
        write_text(folder / VIDEOS_MARK, "")
        with growing_gallery(config.gallery) as index:
            embed = partial(reid.open_network(index, config), description="")
            kept = open_live(index, detector, embed, config, addresses)
            with ended_by_signals(streams), streams, ExitStack() as videos:
                look = look_and_draw(kept, folder, videos) if config.video else None
                for looked in kept.follow(streams, lambda act: act(index), look):
                    for appeared in kept.keep(index, looked):
                        print(f"{written(appeared.time)} {appeared}", flush=True)
            for camera in addresses:
                print(f"{camera}: {streams.report(camera)}")
            index.prepare()
            link_people(index, replace(config, video=False))  # the videos exist already


def look_and_draw(
    kept: LiveGallery, folder: Path, videos: ExitStack
) -> Callable[[Frame, float, str], FrameResult]:
    """Return a function that processes a frame, and adds it, with marks, to its camera's video."""
    added: dict[str, Callable[[float, Image], None]] = {}

    def look(frame: Frame, seconds: float, camera: str) -> FrameResult:
        looked = kept.live.feed(frame, seconds, camera)
        if camera not in added:
            began = datetime.fromtimestamp(looked.began, UTC)
            path = folder / f"{as_file_name(camera)}-{began:%Y%m%d-%H%M%S}.mp4"
            added[camera] = videos.enter_context(open_video(path, STREAM_RATE, movflags=WHOLE))
        added[camera](seconds - looked.began, draw_marks(frame, kept.marks(looked)))
        return looked

    return look


@contextmanager
def ended_by_signals(streams: reid.Streams) -> Iterator[None]:
    """On Ctrl-C or SIGTERM, end streams after the current frame; a second one ends the program."""

    def end(number: int, _: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        streams.stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def link_people(index: reid.Gallery, config: VideosConfig) -> None:
    """Link the tracks in a gallery into people, and write the results."""
    if not (len(index) and recorded_tracks(index)):  # photographs of enrolled people alone
        raise reid.UserError(
            f"{config.save}: nobody was found. Look at the videos, lower --new_score and "
            "--track_score, or take another --detector."
        )
    folder = Path(config.save)
    every, features = indexed_tracks(index, reid.Filter(after=config.after, before=config.before))
    tracks = every[: len(features)]
    check_track_names(str(folder / LINKED_FOLDER), every, index)
    linked = link_indexed(index, tracks, config)
    draw_lanes(linked.stays, folder / PICTURE, begin_of(tracks), config.look, linked.faces())
    videos = [real(video) for _, video in named_videos(config)] if config.video else []
    write_people_folder(str(folder / LINKED_FOLDER), linked, index, videos)
    if config.corrections:
        count = record_people(index, linked, everybody=False)
        print(f"{config.gallery}: recorded the people of {counted(count, 'image')}")
    print(f"{config.save}: {in_words(linked)}")
    print(*lines_of_people(linked), sep="\n")
    print(f"Written: {folder / LINKED_FOLDER}, {folder / PICTURE}")


if __name__ == "__main__":
    run_script(main)
