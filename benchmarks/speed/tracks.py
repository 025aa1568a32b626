# PYTHON_ARGCOMPLETE_OK
"""Time the indexing of a tracked video: a minute of 1080p with ten people at any time.

    python benchmarks/speed/tracks.py
    python benchmarks/speed/tracks.py --seconds 10 --weights osnet_x0_25_msmt17.pth

The video is made: rectangles of noise walk through a synthetic street, ten seconds each. Prints a
Markdown table: the whole command, the frames decoded alone, and the network alone on the images
that were cut, each in a process of its own. Seconds of the processor do not depend on what else the
machine does. Needs PyAV.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from PIL import Image

from benchmarks.support.measure import apart, machine, run_process
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.data.video.frames import open_frames
from person_reid.synthetic.scenes import camera_of, panorama

SIZE, FPS = (1920, 1080), 30
PEOPLE, PERSON = 10, (110, 330)  # at any time, and the (width, height) of each
BEGAN = time.perf_counter()
STAY = 10  # seconds that a person takes to cross the view


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="length of the video")
    parser.add_argument("--backbone", default="osnet_x0_25", help="network")
    parser.add_argument("--weights", default="none", help="its weight file, or none")
    parser.add_argument("--per_track", type=int, default=8, help="images of a track")
    options = parser.parse_args(argv)
    weights = options.weights if options.weights == "none" else Path(options.weights).resolve()
    network = options.backbone, str(weights)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        frames = options.seconds * FPS
        apart(make_video, place / "street.mp4", place / "tracks.txt", frames)
        before = processor(resource.RUSAGE_CHILDREN)
        whole, _, printed = run_process(
            "tools/search.py", "index", "--tracks", place / "tracks.txt", "--frames",
            place / "street.mp4", "--camera", "1", "--index", place / "people.index",
            "--per_track", options.per_track, "--backbone", network[0], "--weights", network[1],
            "--gpu_ids", "-1",
        )  # fmt: skip
        command = whole, processor(resource.RUSAGE_CHILDREN) - before
        images = sorted(place.glob("people.crops/*/*.jpg"))
        decoding = apart(decode, place / "street.mp4")
        start, embedding = apart(embed, images, *network)
    print(f"{machine()}; {printed.splitlines()[-1].partition(': ')[2]}\n")
    rest = np.subtract(command, np.sum([decoding, start, embedding], axis=0))
    print("| | seconds | seconds of the processor | per second of the processor |")
    print("| --- | --- | --- | --- |")
    for name, seconds, count, what in (
        ("the whole command", command, len(images), "images"),
        ("imports, and opening the network", start, 0, ""),
        ("decoding alone", decoding, frames, "frames"),
        ("the network alone", embedding, len(images), "images"),
        ("the rest: cutting, writing, the index", rest, len(images), "images"),
    ):
        rate = f"{count / seconds[1]:.0f} {what}" if count else ""
        print(f"| {name} | {seconds[0]:.1f} | {seconds[1]:.1f} | {rate} |")


def processor(who=resource.RUSAGE_SELF):
    """Return the seconds of the processor that this process, or those it started, have used."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def make_video(path, tracks, frames):
    """Write a video, and the tracks of the people in it."""
    import av

    random = np.random.default_rng(0)
    street = np.asarray(panorama(camera_of(1, 0), 1, 0).convert("RGB").resize(SIZE))
    lines = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.options = "yuv420p", {"preset": "veryfast"}
        people = {}
        for frame in range(1, frames + 1):
            picture = street.copy()
            for place in range(PEOPLE):
                passed = frame - 1 + place * STAY * FPS // PEOPLE
                track, step = place + PEOPLE * (passed // (STAY * FPS)), passed % (STAY * FPS)
                if track not in people:
                    small = random.integers(0, 256, (12, 4, 3), np.uint8)
                    people[track] = np.asarray(Image.fromarray(small).resize(PERSON))
                left = round((SIZE[0] - PERSON[0]) * step / (STAY * FPS))
                top = 300 + 40 * place
                picture[top : top + PERSON[1], left : left + PERSON[0]] = people[track]
                lines.append(f"{frame},{track},{left + 1},{top + 1},{PERSON[0]},{PERSON[1]},1\n")
            image = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    tracks.write_text("".join(lines))


def decode(path):
    """Return the seconds in which the frames of a video are decoded, of which one is wanted."""
    began = time.perf_counter(), processor()
    frames = open_frames(path)
    for _ in frames.read([frames.last]):
        pass
    return since(began)


def embed(images, backbone, weights):
    """Return the seconds in which a network is opened, and in which it computes features."""
    from person_reid.deploy.embedder import Embedder

    embedder = Embedder(backbone, weights=weights, device="cpu")
    embedder.probe()
    opened = time.perf_counter(), processor()
    embedder(images)
    return (opened[0] - BEGAN, opened[1]), since(opened)


def since(began):
    """Return how many seconds passed, and how many the processor was used."""
    return time.perf_counter() - began[0], processor() - began[1]


if __name__ == "__main__":
    run_script(main)
