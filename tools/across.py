# PYTHON_ARGCOMPLETE_OK
"""Link the tracks of several cameras into people.

    python tools/search.py index --tracks cam1.txt --frames cam1.mp4 --camera 1 --index people.index
    python tools/search.py index --tracks cam2.txt --frames cam2.mp4 --camera 2 --index people.index
    python tools/across.py --index people.index --save people         # who was where and when
    python tools/across.py --index people.index --threshold 0.7 --travel travel.csv
    python tools/across.py --index people.index --corrections corrections.csv
    python tools/across.py --index people.index --after 2026-11-01 --before 2026-11-02
    python tools/across.py --index people.index --sheet people.png --apply
    python tools/across.py --index people.index --video         # draw the people into the videos
    python tools/across.py --index walks.index --truth data/walks     # scores: IDF1, HOTA

The folder contains the track files with the same identities in all of them, people.csv with a line
for every track, counts.csv with the number of people for each day and camera, and people.html, a
page on which to cut links, join tracks and name people, the most doubtful first. The page exports
corrections.csv, which search.py apply and prepare.py --csv also read.

Two tracks of one camera that overlap by more than a second are two people. With --travel, so are
two tracks of two cameras with less time between them than the walk takes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.forms import output_path, picture_file
from person_reid.config.look import Look
from person_reid.config.option import option, redeclared
from person_reid.config.people import LinkOptions, VideosConfig
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.files import check_folder, real
from person_reid.gallery.gallery import open_gallery
from person_reid.gallery.indexed_tracks import (
    NamedTrack,
    hota_of_people,
    indexed_tracks,
    read_truth,
    score_people,
)
from person_reid.gallery.linked_tracks import (
    LinkedTracks,
    begin_of,
    in_words,
    link_indexed,
    record_people,
)
from person_reid.gallery.people_folder import (
    PEOPLE_MARK,
    check_track_names,
    lines_of_people,
    write_people_folder,
)
from person_reid.show.lanes import draw_lanes
from person_reid.text import counted


class AcrossConfig(Look, LinkOptions, title="answers"):
    """All options of tools/across.py."""

    save: str = option("people", "folder to write", form=output_path)
    sheet: str | None = option(
        None, "picture of who was where and when", form=picture_file, metavar="FILE"
    )
    video: bool = redeclared(VideosConfig, "video", False, common=False)
    truth: str | None = option(
        None,
        "print IDF1 and HOTA for the truth in its CAMERA/gt/gt.txt, with one number per person",
        metavar="FOLDER",
    )
    apply: bool = option(False, "also record the people in the index")

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        if self.truth and (self.after or self.before):
            return "truth needs all tracks: leave after and before out."
        return "" if self.sheet else self.ignored_without("sheet")


def main(argv: list[str] | None = None) -> None:
    """Read tracks and features, link the tracks into people, and write the results."""
    config = parse(AcrossConfig, argv, __doc__)
    check_places(config)
    index = open_gallery(config.index, new=False)
    every, features = indexed_tracks(index, reid.Filter(after=config.after, before=config.before))
    check_track_names(config.save, every, index)
    tracks = every[: len(features)]
    if len(tracks) < len(every):
        without = counted(len(every) - len(tracks), "track")
        print(f"{config.index}: skipped {without} without an image, forgotten or never cut")
    truth = read_truth(Path(config.truth), tracks) if config.truth else []

    linked = link_indexed(index, tracks, config)
    if config.sheet:
        draw_lanes(linked.stays, config.sheet, begin_of(tracks), config, linked.faces())
        print(f"Written: {config.sheet}")
    write_people_folder(config.save, linked, index, None if config.video else ())
    print(f"{config.save}: {in_words(linked)}")
    print(*lines_of_people(linked), sep="\n")

    if config.truth:
        tell_score(config.truth, linked, truth)
    if config.apply:
        count = record_people(index, linked)
        print(f"{config.index}: recorded the people of {counted(count, 'image')}")


def check_places(config: AcrossConfig) -> None:
    """Raise UserError or OSError if the output cannot be written."""
    there = [] if Path(config.save).is_dir() else [config.save]
    check_outputs(config, save=there, sheet=[config.sheet])
    check_folder(config.save, PEOPLE_MARK)
    if config.sheet and real(config.sheet).is_relative_to(real(config.save)):
        raise reid.UserError(
            f"sheet={config.sheet}: the folder {config.save} is replaced as a whole. Write the "
            "picture beside it."
        )


def tell_score(name: str, linked: LinkedTracks, truth: list[NamedTrack]) -> None:
    """Print the scores of the linked people, of unlinked tracks, and of the people per camera."""
    people = linked.found.labels.tolist()
    both = people, range(len(linked.tracks))
    f1, alone = (score_people(linked.tracks, each, truth).f1 for each in both)
    print(f"{name}: IDF1 {f1:.1%}; {alone:.1%} with every track as a separate person")
    hota = hota_of_people(linked.tracks, people, truth)
    print(
        f"  HOTA {hota.hota:.1%}: detection {hota.detection:.1%}, association "
        f"{hota.association:.1%}"
    )
    for camera in sorted({each.record.camera for each in linked.tracks}):
        places = [i for i, each in enumerate(linked.tracks) if each.record.camera == camera]
        here = [linked.tracks[i] for i in places], [people[i] for i in places]
        known = [each for each in truth if each[0] == camera]
        f1, hota = score_people(*here, known).f1, hota_of_people(*here, known)
        print(f"  {camera}: IDF1 {f1:.1%}, HOTA {hota.hota:.1%}")


if __name__ == "__main__":
    run_script(main)
