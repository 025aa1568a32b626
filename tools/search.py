# PYTHON_ARGCOMPLETE_OK
"""Search for people by picture: index folders of crops once, then query them repeatedly.

    python tools/search.py index crops --index people.index --name ft_ResNet50
    python tools/search.py index more_crops --index people.index               # add to it
    python tools/search.py query someone.jpg --index people.index --save found.png
    python tools/search.py query crops --index people.index --threshold 0.8 --json found.json
    python tools/search.py index crops --index people.index --about crops.csv  # identities, times
    python tools/search.py index --tracks hall.txt --frames hall.mp4 --camera 3 --index people.index
    python tools/search.py query someone.jpg --index people.index --camera 3 --after 2026-11-01
    python tools/search.py enroll Anna anna1.jpg anna2.jpg --index people.index
    python tools/search.py identify someone.jpg --index people.index --threshold 0.8
    python tools/search.py people --index people.index --save people.csv --sheet people.png
    python tools/search.py apply people.csv --index people.index               # after corrections
    python tools/search.py forget --index people.index --identity Anna
    python tools/search.py forget --index people.index --expire 30d            # daily, say

tools/gallery.py maintains an index: info, check, backup, relocate, prune, reindex. The index
remembers its network. An unchanged image is not read again, and images added before a crash are
kept. With --threshold (python tools/threshold.py), a query without a match of at least that
similarity is unknown.

Identity, camera and time come from --about, or else from the name, by --pattern. If neither gives
the time, EXIF or the file's modification time does. A filter skips images whose value is unknown.
identify searches for people instead of images, among all images with an identity. people groups
images without an identity. After forget, no file of the index contains the paths or features. The
table "forgotten" records when images were forgotten, by which flag and how many, but not whom they
show. index and enroll recognise forgotten images by their hashes, and add them only with
--allow_forgotten.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.search import (
    GALLERY_COMMANDS,
    SEARCH_COMMANDS,
    AnswerOptions,
    ApplyConfig,
    EnrollConfig,
    FilterOptions,
    ForgetConfig,
    IdentifyConfig,
    IndexConfig,
    PeopleConfig,
    QueryConfig,
)
from person_reid.config.times import ago, written
from person_reid.console import parse_command, run_script
from person_reid.console.outputs import check_outputs
from person_reid.files import real, set_aside, write_csv, write_json
from person_reid.gallery.facts import listed_images, one_person_each
from person_reid.gallery.forgetting import not_forgotten
from person_reid.gallery.gallery import (
    ReadGallery,
    file_at,
    growing_gallery,
    nobody_has,
    open_gallery,
)
from person_reid.gallery.identification import Identification, known_people, person_scores
from person_reid.gallery.indexed_network import measured_threshold
from person_reid.gallery.indexing import add_images, describe_answers, find_images, index_tracks
from person_reid.gallery.metadata import (
    EVERYTHING,
    FACT_NAMES,
    NOT_A_PERSON,
    UNKNOWN_ABOUT,
    Found,
    about_images,
    listed_path,
    read_abouts,
)
from person_reid.gallery.naming import decide
from person_reid.gallery.normalized_gallery import NormalizedGallery
from person_reid.gallery.score_histograms import Booleans, threshold_among
from person_reid.retrieval.clusters import Labels, Resembles, group_people, numbered_names
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.thresholds import DIGITS, accepts
from person_reid.text import as_command, counted, near_names, printable

MOST_FAULTS = 20  # the most faults to print
LEAST_ASKED = 5  # queries needed to compare the cameras of first answers
FILTERS = ("identity", "camera", "track", "source", "after", "before")


def main(argv: list[str] | None = None) -> None:
    """Run a command: index images, or search for images or for the people in them."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in GALLERY_COMMANDS:
        command = f"{as_command('tools/gallery.py')} {words[0]} …"
        raise reid.UserError(f"{words[0]} is a command of tools/gallery.py: {command}")
    name, config = parse_command(SEARCH_COMMANDS, argv, __doc__)
    WORK[name](config)


def index(config: IndexConfig) -> None:
    """Add images, or the people in a track file, to an index, which is created if necessary."""
    if config.tracks:
        return index_people(config)
    paths = find_images(config.images)
    check_outputs(config, paths, index=[file_at(config.index)])
    number, parts = map(int, (config.part or "1/1").split("/"))
    paths = paths[number - 1 :: parts]
    with growing_gallery(config.index, config.codes) as gallery:
        missing = gallery.missing(paths)
        new = not_forgotten(gallery, missing, config.allow_forgotten)
        added = {Path(path) for path in new}
        # Images already in the index keep their time, unless the list gives another.
        told = bool(config.about or config.pattern)
        listed = Path(config.about) if config.about else None
        folders = [real(place) for place in config.images]
        abouts = about_images(paths if told else added, listed, config.pattern, added, folders)
        embedder = reid.open_network(gallery, config)
        count = add_images(gallery, embedder, new, abouts, config.skip_unreadable)
        if told:
            record(gallery, abouts, added)
        print_added(gallery, count, len(paths) - len(missing))


def enroll(config: EnrollConfig) -> None:
    """Add images of a person to an index, which is created if necessary."""
    paths = find_images(config.images)
    check_outputs(config, paths, index=[file_at(config.index)])
    with growing_gallery(config.index) as gallery:
        missing = gallery.missing(paths)
        new = not_forgotten(gallery, missing, config.allow_forgotten)
        check_name(gallery, config)
        added = {Path(path) for path in new}
        abouts = dict.fromkeys(paths, reid.About(identity=config.person))  # no time: kept for good
        tell_renamed(gallery, paths, config.person)
        count = add_images(gallery, reid.open_network(gallery, config), new, abouts)
        record(gallery, abouts, added)
        print_added(gallery, count, len(paths) - len(missing))


def record(gallery: reid.Gallery, abouts: dict[Path, reid.About], added: set[Path]) -> None:
    """Record new facts about known images, and remember which tracks a user has named."""
    gallery.describe({path: about for path, about in abouts.items() if path not in added})
    decide(gallery, {path: about.identity for path, about in abouts.items() if about.identity})


def print_added(gallery: reid.Gallery, count: int, known: int) -> None:
    """Print how many images were added, and prepare the next search."""
    print(
        f"{gallery.path}: {counted(count, 'image')} added, {known} were there already, "
        f"{len(gallery)} in all"
    )
    gallery.prepare()


def check_name(index: reid.Gallery, config: EnrollConfig) -> None:
    """Raise UserError if the index has a nearly identical name, unless --another is given."""
    for name, other in near_names([config.person], index.values("identity")):
        if not config.another:
            raise reid.UserError(
                f"{config.index}: knows {other!r}. If {name!r} is the same person, enroll that "
                "name; if it is someone else: --another"
            )


def tell_renamed(index: reid.Gallery, paths: list[Path], person: str) -> None:
    """Print how many images previously had another identity."""
    names = [about.identity for about in index.abouts(paths).values()]
    for name, count in Counter(names).items():
        if name and name != person:
            print_lines([f"{counted(count, 'image')} had the name {name} before"])


def index_people(config: IndexConfig) -> None:
    """Add the people in a track file: a few images of each track, cut from its frames."""
    check_outputs(config, index=[file_at(config.index)])
    with growing_gallery(config.index, config.codes) as index:
        added = index_tracks(index, config)
        print(
            f"{config.index}: {counted(added.tracks, 'track')} of camera {added.camera}: "
            f"{counted(added.new, 'image')} added, {added.known} were there already, "
            f"{len(index)} in all"
        )
        index.prepare()


def query(config: QueryConfig) -> None:
    """Print, write and draw the images in an index that are nearest to each query."""
    queries = find_images(config.images)
    check_outputs(config, queries, json=[config.json], save=[config.save])
    index, which = open_gallery(config.index, new=False), filter_of(config)
    threshold = measured_threshold(config.threshold, index, "pair", config.normalized)
    if not len(index):
        raise reid.UserError(
            f"{config.index}: no images in it. Add some: {as_command('tools/search.py')} "
            "index FOLDER --index FILE"
        )
    check_not_indexed(index, config, "save")

    features = reid.open_network(index, config)(queries)
    shown, features = compared(index, queries, features, config)
    answers = shown.search(features, config.top, among=which)
    if not config.normalized and which.camera is None and len(index.values("camera")) > 1:
        remark_own_camera(queries, answers, index.abouts(queries))
    described = describe_answers(queries, answers, threshold)
    for answer in described:
        print_answer(answer)
    if not any(answers):
        print_lines(nobody_has(index, which))
    if bound := reid.load_bound(config.threshold):
        print(bound)

    if config.json:
        asked = {**asked_of(config, "pair", threshold), "promise": bound and bound.words()}
        write_json(config.json, {**asked, "queries": described})
    if config.save:
        from person_reid.show.image_sheets import draw_found  # matplotlib loads slowly

        lowest = -1.0 if threshold is None else threshold
        draw_found(queries, answers, config.save, lowest, config)
    for path in filter(None, (config.json, config.save)):
        print(f"Written: {path}")


def remark_own_camera(
    queries: list[Path], answers: list[list[Found]], known: dict[Path, reid.About]
) -> None:
    """Print a line if most of the first answers come from the query's own camera.

    Images of the query's own track or identity do not count.
    """
    own = []
    for query, found in zip(queries, answers, strict=True):
        asked = known.get(query, UNKNOWN_ABOUT)
        others = [
            match.about.camera
            for match in found
            if match.path != query
            and (match.about.track, match.about.source) != (asked.track or "", asked.source)
            and match.about.identity != (asked.identity or "")
        ]
        if asked.camera and others:
            own.append(others[0] == asked.camera)
    if len(own) >= LEAST_ASKED and sum(own) > len(own) / 2:
        print(
            f"{sum(own)} of {len(own)} first answers come from the query's own camera. If they "
            "show other people, try --camera_norm."
        )


def compared(
    index: reid.Gallery, queries: list[Path], features: Features, config: AnswerOptions
) -> tuple[ReadGallery, Features]:
    """Return the gallery and the queries' features (Q, D) in the form in which to compare them."""
    if not config.normalized:
        return index, features
    shown, known = NormalizedGallery(index), index.abouts(queries)
    cameras = [config.query_camera or known.get(query, UNKNOWN_ABOUT).camera for query in queries]
    if unknown := cameras.count(None):
        advice = "Name it with --query_camera; without it, the mean of all cameras is used."
        print(f"Nobody knows which camera took {counted(unknown, 'image')}. {advice}")
    return shown, shown.normalized(features, cameras)


def print_answer(answer: dict[str, Any]) -> None:
    """Print a query and the images found for it."""
    nobody = ": nobody I know" if answer["known"] is False else ""
    none = "" if answer["matches"] else ": no image passes the filters"
    lines = [f"{answer['image']}{none or nobody}"]
    for match in answer["matches"]:
        remark = "(too low) " if match["accepted"] is False else ""
        known = [f"{name} {match[name]}" for name in ("identity", "camera") if name in match]
        place = f"({', '.join(known)}) {match['image']}" if known else match["image"]
        lines.append(f"  {match['similarity']:.{DIGITS}f} {remark}{place}")
    print_lines(lines)


def identify(config: IdentifyConfig) -> None:
    """Print and write the identity of each image, or of all images together."""
    queries = find_images(config.images)
    check_outputs(config, queries, json=[config.json])
    index, which = open_gallery(config.index, new=False), filter_of(config)
    threshold = measured_threshold(config.threshold, index, "person", config.normalized)
    known_people(index, which)  # fails before reading images if nobody is known

    features = reid.open_network(index, config)(queries)
    shown, features = compared(index, queries, features, config)
    tracks = asked_tracks(index, queries) if config.together else [("", [each]) for each in queries]
    rows = {query: row for row, query in enumerate(queries)}
    people = [features[[rows[image] for image in images]] for _, images in tracks]
    found = reid.identify(shown, people, threshold, which)
    answers = [answered(*track, person) for track, person in zip(tracks, found, strict=True)]
    if threshold is None:
        print(
            "The nearest person is not an identification: a stranger also has a nearest person. "
            "Give --threshold."
        )
    if config.json:
        write_json(config.json, {**asked_of(config, "person", threshold), "queries": answers})
        print(f"Written: {config.json}")


def asked_tracks(index: reid.Gallery, queries: list[Path]) -> list[tuple[str, list[Path]]]:
    """Return (name, images) for each track, and for all other images, taken as one person."""
    tracks = one_person_each(queries, index.abouts(queries))
    if len(tracks) > 1:
        others = ", and other images of one person" if "" in tracks else ""
        print(f"{counted(len(tracks) - ('' in tracks), 'track')}, each of one person{others}")
    return list(tracks.items())


def answered(track: str, images: list[Path], person: Identification) -> dict[str, Any]:
    """Print the identity of the images, and return it as values for a JSON file."""
    answer: dict[str, Any] = {"images": list(map(str, images))}
    answer |= ({"track": track} if track else {}) | person.to_json()
    who = f"{person.nearest} {person.score:.{DIGITS}f}"
    if person.second:
        who += f", {person.margin:.{DIGITS}f} ahead of {person.second}"
    what = str(images[0]) if len(images) == 1 else f"{len(images)} images"
    what = f"{track}, {what}" if track else what
    said = {True: who, False: f"nobody I know ({who})", None: f"nearest is {who}"}
    print(printable(f"{what}: {said[person.known]}"))
    return answer


def asked_of(config: AnswerOptions, score: str, threshold: float | None) -> dict[str, Any]:
    """Return what a JSON file records about a comparison: its kind and the threshold."""
    found = {"index": config.index, "score": score, "threshold": threshold}
    return found | {"threshold_from": config.threshold, "camera_norm": config.normalized}


def people(config: PeopleConfig) -> None:
    """Write a list of an index's images, grouped by person, and draw some of the groups."""
    check_outputs(config, save=[config.save], sheet=[config.sheet])
    index, which = open_gallery(config.index, new=False), filter_of(config)
    check_not_indexed(index, config, "sheet")
    parts = list(index.entries(which))
    images = [each for some, _ in parts for each in some]
    shown = [row for row, (_, about) in enumerate(images) if about.identity != NOT_A_PERSON]
    if not shown:
        explained = ["no images of people in it, or none that the filters let through."]
        explained += nobody_has(index, which)
        raise reid.UserError(f"{config.index}: {' '.join(explained)}")
    features = np.concatenate([matrix for _, matrix in parts])[shown]
    paths, abouts = zip(*(images[row] for row in shown), strict=True)
    cameras = [about.camera or "" for about in abouts]
    known = [about.identity or "" for about in abouts]

    # A new group never gets the name of a person whom a filter skipped.
    others = {*index.values("identity")} if which != EVERYTHING else set()
    resembles, remark = resemblance(config, index, features, known)
    found = group_people(
        features, cameras, known, config.radius, config.min_samples, others, resembles
    )
    order = sorted(
        range(len(paths)), key=lambda i: (not found[i], found[i], cameras[i], abouts[i].time or "")
    )
    rows = {listed_path(paths[i]): for_people(abouts[i], found[i]) for i in order}
    write_list(Path(config.save), rows)

    names, labels = numbered_names(found)
    grouped = sum(map(bool, found))
    groups = counted(len(names), "person", "people")
    print(f"{config.save}: {groups} on {grouped} of {len(paths)} images")
    print_lines([remark] if remark else [])
    if config.sheet and names:
        from person_reid.show.image_sheets import draw_clusters  # matplotlib loads slowly

        draw_clusters(
            paths, features, cameras, clusters=labels, save=config.sheet, names=names, look=config
        )
        print(f"Written: {config.sheet}")


def resemblance(
    config: PeopleConfig, index: reid.Gallery, features: Features, known: list[str]
) -> tuple[Resembles, str]:
    """Return a function that judges resemblance to a known person, and a remark on its threshold.

    By default, the threshold is measured on the named people; with too few of them, no image gets a
    name.
    """
    names = np.array(known)
    named = np.flatnonzero(names != "")
    threshold, remark = measured_threshold(config.threshold, index, "person"), ""
    if threshold is None and len(named):
        threshold = threshold_among(features[named], [known[i] for i in named])
        remark = "Too few people are named to say who resembles them. Give --threshold."
        if threshold is not None:
            remark = f"threshold {threshold:.{DIGITS}f}, measured on those who are named"

    def resembles(name: str, rows: Labels) -> Booleans:
        if threshold is None:
            return np.zeros(len(rows), np.bool_)
        own = features[names == name]
        _, scores = person_scores(list(features[rows][:, None]), [([name] * len(own), own)])
        return np.array([accepts(threshold, score) for score in scores[:, 0]])

    return resembles, remark


def for_people(about: reid.About, identity: str) -> reid.About:
    """Return an image's facts for a list of people: the given identity, and the local time."""
    return about._replace(identity=identity, time=about.time and written(about.time))


def write_list(path: Path, rows: dict[str, reid.About]) -> None:
    """Write a list of images. An earlier list, which may have corrections, is renamed."""
    target = real(path)
    earlier = set_aside(target) if target.is_file() else None
    further = sorted({name for about in rows.values() for name in about.more or ()})
    lines = (
        (image, *about[:-1], *((about.more or {}).get(name) for name in further))
        for image, about in rows.items()
    )
    write_csv(path, ("path", *FACT_NAMES, *further), lines)
    if earlier and earlier.read_bytes() == path.read_bytes():
        earlier.unlink()
    elif earlier:
        print(f"{earlier}: the earlier list")


def apply(config: ApplyConfig) -> None:
    """Record the facts in a list of images; images without a name in it lose their identity."""
    listed = read_abouts(Path(config.table), ("path", "identity"))
    index = open_gallery(config.index, new=False)
    names = {about.identity for about in listed.values() if about.identity}
    for name, other in near_names(names, index.values("identity")):
        print_lines([f"{name!r} is nearly {other!r}: are they one person? If so, apply one name."])
    said = listed_images(index, listed)
    count = index.describe(
        {path: about._replace(identity=about.identity or "") for path, about in said.items()}
    )
    if not count:
        raise reid.UserError(
            f"{config.table}: none of its {len(listed)} images is in {config.index}."
        )
    decide(index, {path: about.identity or "" for path, about in said.items()})
    counts = f"{count} of its {len(listed)} images"
    print(f"{config.index}: recorded what {config.table} says of {counts}")


def forget(config: ForgetConfig) -> None:
    """Remove the images that match all the options from the index."""
    names = ("image", *FILTERS, "where", "expire")
    if not (given := [name for name in names if getattr(config, name)]):
        flags = ", ".join(f"--{name}" for name in names[:-1])
        raise reid.UserError(f"forget: say which images: {flags} or --expire.")
    ends = [config.before, config.expire and ago(config.expire)]
    which = replace(
        filter_of(config),
        image=os.fsencode(real(config.image)) if config.image else None,
        before=min(filter(None, ends), default=None),
    )
    index = open_gallery(config.index, new=False)
    count = index.forget(which, ", ".join(given), config.keep_crops)
    print(f"{config.index}: {counted(count, 'image')} forgotten, {len(index)} left")
    if not count:
        print_lines(nobody_has(index, which))
        if config.image:
            print_lines([f"No such image: {real(config.image)}"])
        return
    from person_reid.gallery.people_folder import renew_people  # matplotlib loads slowly

    renewed, left = renew_people(index)
    print_lines([f"They are not in it now: {path}" for path in renewed])
    print_lines([f"May still show them, and stays: {path}" for path in left])


def filter_of(config: FilterOptions) -> reid.Filter:
    """Return the Filter that the options describe, or EVERYTHING if there are none."""
    where = dict(each.split("=", 1) for each in config.where) or None
    return reid.Filter(**{name: getattr(config, name) for name in FILTERS}, where=where)


def check_not_indexed(index: reid.Gallery, config: FilterOptions, name: str) -> None:
    """Raise UserError if the picture of the option `name` would replace an image in the index."""
    picture = Path(getattr(config, name) or "")
    if not picture.is_file():
        return
    several = picture.stat().st_nlink > 1  # prepare.py lays out a data set as hard links
    which = EVERYTHING if several else reid.Filter(image=os.fsencode(real(picture)))
    paths = (path for images in index.images(which) for path, _ in images)
    check_outputs(config, paths, **{name: [picture]})


def print_lines(lines: list[str]) -> None:
    """Print sentences, one per line, without control characters."""
    for line in lines:
        print(printable(line))


WORK: dict[str, Callable[[Any], None]] = {
    "index": index,
    "query": query,
    "enroll": enroll,
    "identify": identify,
    "people": people,
    "apply": apply,
    "forget": forget,
}


if __name__ == "__main__":
    run_script(main)
