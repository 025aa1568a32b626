"""Search people by picture: index folders of crops once, then query as often as you like.

    python tools/search.py index crops --index people.index --name ft_ResNet50
    python tools/search.py index more_crops --index people.index               # add to it
    python tools/search.py query someone.jpg --index people.index --save found.png
    python tools/search.py query crops --index people.index --threshold 0.8 --json found.json
    python tools/search.py index crops --index people.index --about crops.csv  # what is known
    python tools/search.py query someone.jpg --index people.index --camera 3 --after 2026-11-01
    python tools/search.py enroll Anna anna1.jpg anna2.jpg --index people.index
    python tools/search.py identify someone.jpg --index people.index --threshold 0.8
    python tools/search.py people --index people.index --save people.csv --sheet people.png
    python tools/search.py apply people.csv --index people.index               # after corrections
    python tools/search.py forget --index people.index --identity Anna
    python tools/search.py forget --index people.index --expire 30d            # daily, say

The index remembers its network. An indexed image that has not changed is not read again, and what
was added before a crash stays. With --threshold (python tools/threshold.py), a query without a
match at least that similar is unknown.

Who an image shows, the camera and the time come from --about, or else from the name by --pattern.
If neither gives the time, EXIF or the file's last change does. A filter leaves out images whose
value is unknown. identify asks for people instead of images: all images with an identity take part.
people groups images without one. After forget, no file of the index holds the paths or features any
more; the table "forgotten" records when images were forgotten, by which flag and how many, but not
whom they show.
"""

import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from person_reid.basics import (
    UserError,
    counted,
    printable,
    real,
    set_aside,
    write_csv,
    write_json,
)
from person_reid.cli.flags import (
    add_engine,
    add_runtime,
    add_tested_network,
    given_values,
    testing_parser,
)
from person_reid.cli.parser import Parser, example_lines
from person_reid.cli.tested import OF_FEATURES, feature_flags, is_run, network_name, open_embedder
from person_reid.cli.values import file_ending_in, picture_file, positive, share, some_name
from person_reid.config.demo import THRESHOLD
from person_reid.console.outputs import check_outputs
from person_reid.deploy.embedder import Embedder
from person_reid.gallery.gallery import Gallery, nobody_has, open_gallery
from person_reid.gallery.identification import identify, known_people
from person_reid.gallery.indexing import (
    add_images,
    agreed,
    check_network,
    describe_answers,
    find_images,
)
from person_reid.gallery.metadata import (
    EVERYTHING,
    About,
    Filter,
    about_images,
    ago,
    listed_path,
    moment,
    read_abouts,
)
from person_reid.gallery.milvus import SCHEME
from person_reid.retrieval.clusters import group_people, numbered
from person_reid.retrieval.thresholds import DIGITS, load_promise, load_threshold
from person_reid.run_folder import RunFolder

ALIKE = ("identity", "camera", "track", "source")  # filters for an equal value


def main(argv: list[str] | None = None) -> None:
    """Index images, search for them, or for the people on them."""
    options = search_parser().parse_args(argv)
    options.work(options)


def search_parser() -> Parser:
    """Return the parser. Each command sets `work` to its function."""
    parser = Parser(__doc__)
    title, names = (
        "commands, each with its own --help",
        "index|query|enroll|identify|people|apply|forget",
    )
    commands = parser.add_subparsers(required=True, title=title, metavar=names)

    def add_command(work: Callable[[Namespace], None], name: str, text: str) -> Parser:
        command: Parser = commands.add_parser(
            name, help=text, text=text, examples=example_lines(__doc__, name)
        )
        command.set_defaults(work=work)
        command.add_argument(
            "--index", required=True, metavar="FILE", help="index file, or milvus://HOST:PORT/NAME"
        )
        return command

    index = add_command(add, "index", "Add images or folders of images to an index.")
    columns = f"columns path,{','.join(About._fields)}, any that are known"
    index.add_argument("--about", type=Path, metavar="CSV", help=columns)
    index.add_argument(
        "--pattern", help="regular expression for names, with groups of id, camera, track, source"
    )
    index.set_defaults(person=None)
    text = "list images that cannot be read, and go on without them"
    index.add_argument("--skip_unreadable", action="store_true", help=text)
    query = add_command(
        ask, "query", "Find the images most similar to an image, or to each image of a folder."
    )
    query.add_argument("--top", type=positive(int), default=10, help="number of answers")
    query.add_argument(
        "--save", type=picture_file, metavar="FILE", help="sheet of the answers to draw"
    )
    enroll = add_command(
        add, "enroll", "Add images of a person you know, so that identify can name the person."
    )
    enroll.add_argument(
        "person", type=some_name, metavar="NAME", help="the person; more images may follow later"
    )
    enroll.set_defaults(about=None, pattern=None, skip_unreadable=False)
    identify = add_command(
        recognise, "identify", "Name the person on each image, if it is somebody you know."
    )
    identify.add_argument(
        "--together", action="store_true", help="all images show one person, such as a track"
    )
    people = add_command(
        group,
        "people",
        "Group the images of an index into people, for you to correct and to apply.",
    )
    people.add_argument(
        "--save", type=file_ending_in(".csv"), metavar="CSV", default="people.csv", help="the list"
    )
    people.add_argument(
        "--sheet",
        type=picture_file,
        metavar="FILE",
        help="sheet of the largest and most doubtful groups",
    )
    people.add_argument(
        "--radius", type=share, default=0.5, help="largest Jaccard distance of neighbours"
    )
    people.add_argument(
        "--min_samples", type=positive(int), default=4, help="neighbours needed to begin a group"
    )
    apply = add_command(
        put_back, "apply", "Record who images show, from a list that the command people wrote."
    )
    apply.add_argument("list", type=Path, metavar="CSV", help=columns)
    forget = add_command(
        delete,
        "forget",
        "Delete images from an index so that no trace of them is left in its files.",
    )
    forget.add_argument("--image", type=Path, metavar="FILE", help="only this image")
    forget.add_argument(
        "--expire",
        type=ago,
        dest="expired",
        metavar="AGE",
        help="only ones older than 12h, 30d or 4w",
    )
    for command in (index, query, enroll, identify):
        command.add_argument(
            "images", nargs="+", metavar="IMAGE", help="images, or folders of them at any depth"
        )
        command.add_argument(
            "--batchsize", type=positive(int), default=256, help="images per batch"
        )
        add_runtime(command)
    for command in (index, enroll):
        add_tested_network(command)
        add_engine(command)
        command.add_argument(
            "--no_flip", action="store_true", help="leave out the mirrored image: twice as fast"
        )
    for command in (query, identify):
        command.add_argument("--gpu_ids", default="0", help="GPU to use; -1 for the CPU")
        command.add_argument("--threshold", help=f"lowest similarity of a match: {THRESHOLD}")
        command.add_argument(
            "--json", type=file_ending_in(".json"), metavar="FILE", help="write the answers there"
        )
    for command in (query, identify, people, forget):
        for name in ALIKE:
            command.add_argument(
                f"--{name}", type=some_name, metavar="NAME", help=f"only images of this {name}"
            )
        after = "only images from this time on: 2026-11-01T09:30"
        command.add_argument("--after", type=moment, metavar="TIME", help=after)
        command.add_argument(
            "--before", type=moment, metavar="TIME", help="only images from before this time"
        )
    return parser


def add(options: Namespace) -> None:
    """Add images to an index, and create it if it does not exist."""
    paths = find_images(options.images)
    file = None if options.index.startswith(SCHEME) else Path(options.index)
    check_outputs(options, paths, index=[file])
    index = open_gallery(options.index)
    new = index.missing(paths)
    every = options.about or options.pattern or options.person
    added = {Path(path) for path in new}
    # what is there already keeps its time, unless the list gives another
    abouts = about_images(paths if every else added, options.about, options.pattern, dated=added)
    if options.person:
        abouts = {path: about._replace(identity=options.person) for path, about in abouts.items()}
    count = add_images(index, embedder_of(index, options), new, abouts, options.skip_unreadable)
    if every:
        index.describe({path: about for path, about in abouts.items() if path not in added})
    known = len(paths) - len(new)
    print(
        f"{options.index}: {counted(count, 'image')} added, {known} were "
        f"there already, {len(index)} in all"
    )
    index.prepare()


def asked_for(options: Namespace) -> Filter:
    """Return the Filter that the flags describe: EVERYTHING without flags."""
    return Filter(**{name: getattr(options, name) for name in (*ALIKE, "after", "before")})


def print_lines(lines: list[str]) -> None:
    """Print sentences, one a line, without what a terminal would obey."""
    for line in lines:
        print(printable(line))


def delete(options: Namespace) -> None:
    """Forget the images that all flags together describe."""
    flags = ("image", *ALIKE, "after", "before", "expired")
    if not (given := [name for name in flags if getattr(options, name) is not None]):
        raise UserError(
            "forget: say which images: "
            f"{', '.join(f'--{name}' for name in flags[:-1])} or --expire."
        )
    which = replace(
        asked_for(options),
        image=options.image and os.fsencode(real(options.image)),
        before=min(filter(None, (options.before, options.expired)), default=None),
    )
    index = open_gallery(options.index, new=False)
    count = index.forget(which, ", ".join(given))
    print(f"{options.index}: {counted(count, 'image')} forgotten, {len(index)} left")
    if not count:
        print_lines(nobody_has(index, which))


def embedder_of(index: Gallery, options: Namespace) -> Embedder:
    """Return the Embedder that an index remembers or, for a new index, the one that the flags
    describe.

    Raises UserError for flags that describe another one than the index remembers.
    """
    flags, network = network_of(index, options)
    # and not of another run, which --name asks for
    own = (index.recall("network") or {}).get("name") == network.name
    if own and is_run(network) and not RunFolder(network.name).options_file.exists():
        raise UserError(
            f"{index.path}: its network is the run {network.name}, which is not in "
            f"{Path.cwd()}. Go to the folder "
            f"that holds model/{network.name}."
        )
    here = {"gpu_ids": options.gpu_ids, "batchsize": options.batchsize, "runtime": options.runtime}
    embedder = open_embedder(Namespace(**vars(network) | here))
    check_network(index, embedder, flags)
    return embedder


def network_of(index: Gallery, options: Namespace) -> tuple[dict[str, Any], Namespace]:
    """Return the flags that an index remembers or, for a new index, those given; and all flags of
    test.py with these.

    Raises UserError for flags that describe another network than the index remembers.
    """
    plain = vars(testing_parser().parse_args([]))
    given = given_values(options, (name for name in OF_FEATURES if hasattr(options, name)))
    for name in ("weights", "engine", "from"):
        if name in given and Path(given[name]).exists():
            given[name] = str(real(given[name]))
    known = index.recall("network") is not None
    flags = agreed(index, given) if known else {name: plain[name] for name in OF_FEATURES} | given
    network = Namespace(**(plain | flags))
    if not is_run(network):
        network.name = plain["name"]  # what the index remembers was only the default
    return flags, network


def threshold_for(index: Gallery, options: Namespace) -> float:
    """Return the lowest similarity that --threshold allows; -1,
    which allows all, without the flag.
    """
    if options.threshold is None:
        return -1.0
    _, network = network_of(index, options)
    return load_threshold(options.threshold, network_name(network), feature_flags(network))


def check_not_indexed(index: Gallery, options: Namespace, flag: str) -> None:
    """Raise UserError if the picture that a flag names would replace an image of the index."""
    picture = getattr(options, flag)
    if picture is None or not picture.is_file():
        return
    several = picture.stat().st_nlink > 1  # prepare.py lays out a data set in hard links
    which = EVERYTHING if several else Filter(image=os.fsencode(real(picture)))
    paths = (path for images, _ in index.entries(which) for path, _ in images)
    check_outputs(options, paths, **{flag: [picture]})


def ask(options: Namespace) -> None:
    """Print, write and draw the images of an index that are nearest to each query."""
    queries = find_images(options.images)
    check_outputs(options, queries, json=[options.json], save=[options.save])
    index = open_gallery(options.index, new=False)
    threshold = threshold_for(index, options)
    if not len(index):
        raise UserError(
            f"{options.index}: no images in it. Add some: python "
            "tools/search.py index FOLDER --index FILE"
        )
    check_not_indexed(index, options, "save")
    answers = index.search(
        embedder_of(index, options)(queries), options.top, among=asked_for(options)
    )
    described = describe_answers(queries, answers, threshold)
    for answer in described:
        nobody = "nobody I know" if answer["matches"] else "no image passes the filters"
        print(printable(answer["image"]) + ("" if answer["known"] else f": {nobody}"))
        for match in answer["matches"]:
            remark = "" if match["accepted"] else "(too low) "
            who = ", ".join(
                f"{name} {match[name]}" for name in ("identity", "camera") if name in match
            )
            place = f"({who}) {match['image']}" if who else match["image"]
            print(f"  {match['similarity']:.{DIGITS}f} {remark}{printable(place)}")
    if not any(answers):
        print_lines(nobody_has(index, asked_for(options)))
    if promise := load_promise(options.threshold):
        print(promise)
    if options.json:
        asked = {
            "threshold": options.threshold and threshold,
            "promise": promise and promise.words(),
        }
        write_json(options.json, {"index": str(options.index), **asked, "queries": described})
    if options.save:
        from person_reid.show.found import draw_found  # matplotlib loads slowly

        draw_found(queries, answers, options.save, threshold)
    for path in filter(None, (options.json, options.save)):
        print(f"Written: {path}")


def recognise(options: Namespace) -> None:
    """Print and write who each query shows, or all queries together."""
    queries = find_images(options.images)
    check_outputs(options, queries, json=[options.json])
    index = open_gallery(options.index, new=False)
    threshold = threshold_for(index, options)
    groups = [slice(None)] if options.together else [slice(i, i + 1) for i in range(len(queries))]
    which = asked_for(options)
    known_people(index, which)  # lest the images be read in vain
    features = embedder_of(index, options)(queries)
    asked = None if options.threshold is None else threshold
    found = identify(index, [features[group] for group in groups], asked, which)
    answers = []
    for images, person in zip((queries[group] for group in groups), found, strict=True):
        named = "nearest" if person.known is None else "identity"
        answer: dict[str, Any] = {"images": list(map(str, images)), "known": person.known}
        answer |= {named: person.nearest, "score": person.score}
        who = f"{person.nearest} {person.score:.{DIGITS}f}"
        if person.second:
            answer |= {"second": person.second, "margin": person.margin}
            who += f", {person.margin:.{DIGITS}f} ahead of {person.second}"
        answers.append(answer)
        what = str(images[0]) if len(images) == 1 else f"{len(images)} images"
        said = {True: who, False: f"nobody I know ({who})", None: f"nearest is {who}"}
        print(printable(f"{what}: {said[person.known]}"))
    if options.threshold is None:
        print(
            "Who is nearest is not an identification: a stranger also has "
            "somebody nearest. Give --threshold."
        )
    if options.json:
        write_json(
            options.json, {"index": str(options.index), "threshold": asked, "queries": answers}
        )
        print(f"Written: {options.json}")


def group(options: Namespace) -> None:
    """Write a list of the images of an index, grouped into people by their
    features, and draw some of the groups.
    """
    check_outputs(options, save=[options.save], sheet=[options.sheet])
    index = open_gallery(options.index, new=False)
    check_not_indexed(index, options, "sheet")
    which = asked_for(options)
    if not (parts := list(index.entries(which))):
        explained = ["no images in it, or none that the filters let through."]
        explained += nobody_has(index, which)
        raise UserError(f"{options.index}: {' '.join(explained)}")
    entries, features = (
        [each for some, _ in parts for each in some],
        np.concatenate([matrix for _, matrix in parts]),
    )
    paths, abouts = zip(*entries, strict=True)
    cameras = [about.camera or "" for about in abouts]
    known = [about.identity or "" for about in abouts]
    # a filter may have left some out
    named = index.entries(Filter(named="")) if which != EVERYTHING else ()
    others = {about.identity or "" for images, _ in named for _, about in images}
    found = group_people(features, cameras, known, options.radius, options.min_samples, others)
    order = sorted(
        range(len(paths)), key=lambda i: (not found[i], found[i], cameras[i], abouts[i].time or "")
    )
    rows = ((listed_path(paths[i]), *abouts[i]._replace(identity=found[i])) for i in order)
    target = real(options.save)
    earlier = set_aside(target) if target.is_file() else None  # somebody may have corrected it
    write_csv(options.save, ("path", *About._fields), rows)
    if earlier and earlier.read_bytes() == options.save.read_bytes():
        earlier.unlink()
    elif earlier:
        print(f"{earlier}: the earlier list")
    names, labels = numbered(found)
    print(f"{options.save}: {len(names)} people on {sum(map(bool, found))} of {len(paths)} images")
    if options.sheet and names:
        from person_reid.show.clusters import draw_clusters  # matplotlib loads slowly

        draw_clusters(paths, features, cameras, labels, options.sheet, names)
        print(f"Written: {options.sheet}")


def put_back(options: Namespace) -> None:
    """Record what a list says about images; an image without a name there loses its identity."""
    listed, index = (
        read_abouts(options.list, ("path", "identity")),
        open_gallery(options.index, new=False),
    )
    count = index.describe(
        {path: about._replace(identity=about.identity or "") for path, about in listed.items()}
    )
    if not count:
        raise UserError(f"{options.list}: none of its {len(listed)} images is in {options.index}.")
    print(
        f"{options.index}: recorded what {options.list} says of {count} of its {len(listed)} images"
    )
