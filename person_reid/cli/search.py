"""Search people by picture: index folders of crops once, then query as often as you like.

    python tools/search.py index crops --index people.index --name ft_ResNet50
    python tools/search.py index more_crops --index people.index              # add to it, with the same network
    python tools/search.py query someone.jpg --index people.index --save found.png
    python tools/search.py query crops_of_today --index people.index --threshold threshold.json --json found.json
    python tools/search.py index crops --index people.index --about crops.csv        # path,identity,camera,time
    python tools/search.py query someone.jpg --index people.index --camera 3 --after 2026-11-01
    python tools/search.py forget --index people.index --identity Anna
    python tools/search.py forget --index people.index --expire 30d                  # daily, say

The index remembers its network. An indexed image that has not changed is not read again, and what was added before a
crash stays. With --threshold (python tools/threshold.py), a query without a match at least that similar is unknown.

Who an image shows, the camera and the time come from --about, else from the name by --pattern, else (time) from EXIF or
from the file's last change. A filter leaves out the images of which it cannot tell. After forget, no file of the index
holds the paths or features any more; the table "forgotten" records when, by which flag and how many, but not whom.
"""

import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from person_reid.basics import UserError, printable, write_json
from person_reid.cli.flags import add_engine, add_runtime, add_tested_network, given_values, testing_parser
from person_reid.cli.parser import Parser, example_lines
from person_reid.cli.tested import OF_FEATURES, open_embedder
from person_reid.cli.values import THRESHOLD, positive
from person_reid.deploy.embedder import Embedder
from person_reid.gallery.about import EVERYTHING, Filter, about_images, ago, moment
from person_reid.gallery.build import add_images, agreed, check_network, describe_answers, find_images
from person_reid.gallery.index import SearchIndex
from person_reid.retrieval.thresholds import DIGITS, load_promise, load_threshold


def main(argv: list[str] | None = None) -> None:
    """Index images or search for them."""
    parser = Parser(__doc__)
    commands = parser.add_subparsers(
        required=True, title="commands, each with its own --help", metavar="index|query|forget"
    )

    def add_command(name: str, text: str) -> Parser:
        return commands.add_parser(name, help=text, text=text, examples=example_lines(__doc__, name))

    index = add_command("index", "Add images or folders of images to an index.")
    add_tested_network(index)
    add_engine(index)
    index.add_argument("--no_flip", action="store_true", help="leave out the mirrored image: twice as fast")
    index.add_argument("--about", type=Path, metavar="CSV", help="columns path,identity,camera,time, as far as known")
    index.add_argument("--pattern", help="regular expression with the groups id and camera for the images' names")
    query = add_command("query", "Find the images most similar to an image, or to each image of a folder.")
    query.add_argument("--gpu_ids", default="0", help="GPU to use; -1 for the CPU")
    query.add_argument("--top", type=positive(int), default=10, help="number of answers")
    query.add_argument("--threshold", help=f"least similarity of a match: {THRESHOLD}")
    query.add_argument("--save", type=Path, metavar="FILE", help="sheet of the answers to draw")
    query.add_argument("--json", type=Path, metavar="FILE", help="JSON file to write the answers to")
    forget = add_command("forget", "Delete images from an index so that nothing of them is left in its files.")
    forget.add_argument("--image", type=Path, metavar="FILE", help="this image")
    forget.add_argument("--expire", type=ago, dest="expired", metavar="AGE", help="older ones: 12h, 30d or 4w")
    for command in (query, forget):
        command.add_argument("--identity", metavar="NAME", help="only images of this person")
        command.add_argument("--camera", help="only images from this camera")
        command.add_argument(
            "--after", type=moment, metavar="TIME", help="only images from this time on: 2026-11-01T09:30"
        )
        command.add_argument("--before", type=moment, metavar="TIME", help="only images from before this time")
    for command, work in ((index, add), (query, ask), (forget, delete)):
        command.set_defaults(work=work)
        command.add_argument("--index", type=Path, required=True, metavar="FILE", help="the index file")
    for command in (index, query):
        command.add_argument("images", nargs="+", metavar="IMAGE", help="images, or folders of them at any depth")
        command.add_argument("--batchsize", type=positive(int), default=256, help="images per batch")
        add_runtime(command)
    options = parser.parse_args(argv)
    options.work(options)


def add(options: Namespace) -> None:
    """Add images to an index, and create it if it does not exist."""
    paths = find_images(options.images)
    index = SearchIndex(options.index)
    new = index.missing(paths)
    abouts = about_images(paths if options.about or options.pattern else map(Path, new), options.about, options.pattern)
    count = add_images(index, embedder_of(index, options), new)
    index.describe(abouts)
    print(f"{options.index}: {count} images added, {len(paths) - count} were there already, {len(index)} in all")
    index.prepare()


def existing(path: Path) -> SearchIndex:
    """Open an index. Raises UserError if there is none."""
    if not path.is_file():
        raise UserError(f"{path}: no such index. Make one: python tools/search.py index FOLDER --index FILE")
    return SearchIndex(path)


def asked_for(options: Namespace) -> Filter | None:
    """Return the Filter that the flags describe, or None if they describe none."""
    given = {name: getattr(options, name) for name in ("identity", "camera", "after", "before")}
    return Filter(**given) if any(value is not None for value in given.values()) else None


def delete(options: Namespace) -> None:
    """Forget the images that all flags together describe."""
    flags = ("image", "identity", "camera", "after", "before", "expired")
    if not (given := [name for name in flags if getattr(options, name) is not None]):
        raise UserError("forget: say which images: --image, --identity, --camera, --after, --before or --expire.")
    which = replace(
        asked_for(options) or EVERYTHING,
        image=options.image and os.fsencode(options.image.resolve()),
        before=min(filter(None, (options.before, options.expired)), default=None),
    )
    index = existing(options.index)
    count = index.forget(which, ", ".join(given))
    print(f"{options.index}: {count} images forgotten, {len(index)} left")


def embedder_of(index: SearchIndex, options: Namespace) -> Embedder:
    """Return the Embedder that an index remembers or, for a new index, the one that the flags describe.

    Raises UserError for flags that describe another one than the index remembers.
    """
    plain = vars(testing_parser().parse_args([]))
    given = given_values(options, (name for name in OF_FEATURES if hasattr(options, name)))
    for name in ("weights", "engine", "from"):
        if name in given and Path(given[name]).exists():
            given[name] = str(Path(given[name]).resolve())
    known = index.recall("network") is not None
    flags = agreed(index, given) if known else {name: plain[name] for name in OF_FEATURES} | given
    here = {"gpu_ids": options.gpu_ids, "batchsize": options.batchsize, "runtime": options.runtime}
    embedder = open_embedder(Namespace(**(plain | flags | here)))
    check_network(index, embedder, flags)
    return embedder


def ask(options: Namespace) -> None:
    """Print, write and draw the images of an index that are nearest to each query."""
    threshold = -1.0 if options.threshold is None else load_threshold(options.threshold)
    queries = find_images(options.images)
    index = existing(options.index)
    if not len(index):
        raise UserError(f"{options.index}: no images in it. Add some: python tools/search.py index FOLDER --index FILE")
    answers = index.search(embedder_of(index, options)(queries), options.top, among=asked_for(options))
    described = describe_answers(queries, answers, threshold)
    for answer in described:
        print(printable(answer["image"]) + ("" if answer["known"] else ": nobody I know"))
        for match in answer["matches"]:
            remark = "" if match["accepted"] else "(too low) "
            who = ", ".join(f"{name} {match[name]}" for name in ("identity", "camera") if name in match)
            place = f"({who}) {match['image']}" if who else match["image"]
            print(f"  {match['similarity']:.{DIGITS}f} {remark}{printable(place)}")
    promise = load_promise(options.threshold)
    if promise:
        print(promise)
    if options.json:
        asked = {"threshold": options.threshold and threshold, "promise": promise and promise.words()}
        write_json(options.json, {"index": str(options.index), **asked, "queries": described})
    if options.save:
        from person_reid.show.found import draw_found  # matplotlib loads slowly

        draw_found(queries, answers, options.save, threshold)
    print("\n".join(f"Written: {path}" for path in (options.json, options.save) if path))
