# PYTHON_ARGCOMPLETE_OK
"""Kill the service while clients change its gallery, and check its answers against the gallery.

    python benchmarks/robustness/service_kills.py             # 60 kills
    python benchmarks/robustness/service_kills.py --kills 5 --seed 1

Each time, the service starts on the index that was left, and is killed after up to two seconds of
requests. Then every acknowledged image must be in the index with its file and its current name, and
nothing acknowledged as forgotten may remain: neither its row, nor its file, nor its path in the
bytes of any file. No request may be rejected. Linux.
"""

import io
import random
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.speed.service import TOKEN, serving
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.progress import progress
from person_reid.serve.image_ids import ImageIds, secret_of

SIZES = ["--height", "64", "--width", "32"]
CLIENTS = 4
READ_PATHS = ("people", "cameras", "tracks", "images", "sightings?camera=1")


class Answers:
    """The ids of existing and of forgotten images, as the service has acknowledged them."""

    def __init__(self) -> None:
        self.there: dict[str, set[str]] = {}  # {id: names, one of which it has}
        self.gone: set[str] = set()
        self.merged = 0
        self.refused: list[str] = []
        self.lock = threading.Lock()


def main(argv=None):
    """Print how many kills there were, and what was lost."""
    parser = Parser(__doc__)
    parser.add_argument("--kills", type=int, default=60, help="how often it is killed")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other kills")
    options = parser.parse_args(argv)
    random.seed(options.seed)
    answers = Answers()
    with tempfile.TemporaryDirectory() as workspace:
        folder = Path(workspace)
        (folder / "tokens").write_text(f"forget {TOKEN}\n")
        for kill in progress(range(options.kills), desc="kills"):
            serve_and_kill(folder, answers, 1000 * (options.seed + 1) + kill)
            if wrong := faults(folder, answers):
                raise UserError(f"kill {kill}: {wrong[0]} ({len(wrong)} in all)")
    print(
        f"{options.kills} kills: {len(answers.there)} images acknowledged and there, "
        f"{answers.merged} merged, {len(answers.gone)} forgotten and gone"
    )


def serve_and_kill(folder, answers, seed):
    """Start the service, let clients send requests for a while, and kill it."""
    with serving(folder, SIZES) as (address, service):
        clients = [
            threading.Thread(target=ask, args=(address, answers, 10 * seed + number, number))
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        time.sleep(random.uniform(0.2, 2))
        service.kill()
        for client in clients:
            client.join()


def ask(address, answers, seed, number):
    """Send requests until the service is gone, and record what it acknowledges.

    number: identifies the client, which has its own people.
    """
    headers = {"Authorization": f"Bearer {TOKEN}"}
    draw, noise = random.Random(seed), np.random.default_rng(seed)
    names = [f"person {number}{last}" for last in range(10)]
    own: list[str] = []
    with suppress(httpx.HTTPError), httpx.Client(headers=headers, timeout=60) as client:

        def send(method, path, **request):
            answer = client.request(method, f"{address}/{path}", **request)
            if answer.is_error:
                answers.refused.append(f"{method} {path}: {answer.status_code} {answer.text}")
            return answer.raise_for_status().json()

        while True:
            act = draw.random()
            if own and act < 0.25:
                image = own.pop()
                with answers.lock:
                    answers.there.pop(image)  # unknown until there is an answer
                send("DELETE", f"images/{image}")
                with answers.lock:
                    answers.gone.add(image)
            elif own and act < 0.4:
                merge(send, answers, *draw.sample(names, 2))
            elif act < 0.5:
                send("GET", draw.choice(READ_PATHS))
            else:
                name, content = draw.choice(names), io.BytesIO()
                Image.fromarray(noise.integers(0, 256, (64, 32, 3), np.uint8)).save(content, "PNG")
                about = {"identity": name, "camera": str(number)}
                body = {"content": content.getvalue(), "headers": {"content-type": "image/png"}}
                own.append(send("POST", "images", params=about, **body)["images"][0]["id"])
                with answers.lock:
                    answers.there[own[-1]] = {name}


def merge(send, answers, old, new):
    """Merge the person `old` into `new`, if an image is certain to have the name `old`."""
    with answers.lock:
        both = [image for image, names in answers.there.items() if old in names]
        certain = any(answers.there[image] == {old} for image in both)
        if not certain:
            return
        for image in both:
            answers.there[image] = {*answers.there[image], new}
    send("POST", "people/rename", json={"identity": old, "to": new, "merge": True})
    with answers.lock:
        answers.merged += 1
        for image in both:
            answers.there[image] -= {old}


def faults(folder, answers):
    """Return a sentence for each image that contradicts the service's answers."""
    with_names: dict[Path, str | None] = {}
    index = SearchIndex(folder / "people.index")
    for images in index.images():
        with_names |= {path: about.identity for path, about in images}
    ids = ImageIds(secret_of(index))
    paths = {image: ids.path(image) or Path() for image in (*answers.there, *answers.gone)}
    found = answers.refused + [
        f"{paths[image]}: acknowledged, but lost"
        for image, names in answers.there.items()
        if with_names.get(paths[image]) not in names or not paths[image].is_file()
    ]
    content = b"".join(file.read_bytes() for file in folder.glob("people.index*"))
    for image in answers.gone:
        path = paths[image]
        if path in with_names or path.is_file() or path.name.encode() in content:
            found.append(f"{path}: forgotten, but still there")
    return found


if __name__ == "__main__":
    run_script(main)
