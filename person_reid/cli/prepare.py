r"""Lay out a data set for training and testing, or draw one.

    python prepare.py                                         # finds ../Market and others
    python prepare.py --data_dir ~/data/DukeMTMC-reID         # makes ~/data/DukeMTMC-reID/pytorch
    python prepare.py --dataset msmt17_v2                     # see docs/datasets.md
    python prepare.py --synthetic                             # draws people: no download
    python prepare.py --csv FILE                              # your images, listed
    python prepare.py --dataset mot --data_dir MOT17/train    # people of tracked videos
    python prepare.py --data_dir FOLDER --pattern "(?P<id>\d+)_c(?P<camera>\d+)"
    python prepare.py --data_dir mine/pytorch --corrections label_errors.csv
    python prepare.py --data_dir mine/pytorch --check         # what training and test share

The result is <save_dir>/{train,val,train_all,query,gallery,multi-query}/<identity>/<image>: hard
links if the file system allows them, otherwise copies. The download is never moved, changed or
deleted, and a second run changes nothing. A download that holds only query and gallery is laid out
for testing.
"""

from argparse import Action, Namespace
from pathlib import Path

from person_reid.basics import UserError, check_way, printable, real
from person_reid.cli.parser import Parser
from person_reid.cli.values import number, output_path, seed
from person_reid.config.option import Range
from person_reid.data.corrections import corrected
from person_reid.data.datasets import DATA_SETS
from person_reid.data.images import recorded_limits
from person_reid.data.layout import next_command
from person_reid.data.prepare import lay_out
from person_reid.data.recognise import data_set_named, find_data_set, with_flags
from person_reid.data.summary import describe_layout, describe_unlabelled

BITS = Range("from 9 to 16", lambda bits: 9 <= bits <= 16)


def preparing_parser() -> tuple[Parser, list[Action]]:
    """Return the parser of prepare.py, and those of its flags that describe people to draw."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--data_dir", help="folder of the download (default: looked for in the usual places)"
    )
    parser.add_argument(
        "--save_dir",
        type=output_path,
        help="folder of the layout (default: pytorch, in the folder of the download)",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help=f"{', '.join(DATA_SETS)} (default: recognised by its files)",
    )
    own = parser.add_argument_group("your own data set")
    own.add_argument(
        "--pattern", help="regular expression with the groups id and, if file names give it, camera"
    )
    own.add_argument(
        "--csv", metavar="FILE", help="list of the images, with columns path,identity,camera,split"
    )
    own.add_argument(
        "--test_fraction",
        type=float,
        help="share of identities to test on, if not split yet (default: 0.5)",
    )
    text = (
        "bits of the images' values, if more than 8 and known, such as 12 "
        "(default: seen from the values)"
    )
    own.add_argument("--bits", type=number(int, BITS), metavar="N", help=text)
    parser.add_argument(
        "--seed", type=seed, help="another seed draws other people, or another random split"
    )
    text = (
        "list from tools/label_errors.py; the layout --data_dir is copied "
        "with the corrections it accepts"
    )
    parser.add_argument("--corrections", metavar="FILE", help=text)
    text = (
        "only report identities and images of the layout --data_dir "
        "that are in training and in test"
    )
    parser.add_argument("--check", action="store_true", help=text)
    tracks = parser.add_argument_group("tracked videos (--dataset mot)")
    tracks.add_argument(
        "--min_visibility", type=float, help="least visibility of a box, 0 to 1 (default: 0.5)"
    )
    tracks.add_argument(
        "--frame_stride",
        type=int,
        metavar="FRAMES",
        help="frames from one that is read to the next (default: 10)",
    )
    text = (
        "classes of boxes to cut out (default: people, which MOTChallenge calls 1,2,7 and COCO 0)"
    )
    tracks.add_argument("--class", "--classes", dest="classes", metavar="N,N", help=text)
    synthetic = parser.add_argument_group("synthetic people")
    synthetic.add_argument(
        "--synthetic", action="store_true", help="draw a data set instead of reading a download"
    )
    drawn = [
        synthetic.add_argument(
            "--identities",
            type=int,
            dest="train_identities",
            help="people to train on (default: 200)",
        ),
        synthetic.add_argument(
            "--test_identities", type=int, help="other people, to test on (default: 50)"
        ),
        synthetic.add_argument(
            "--cameras", type=int, help="cameras, each of which sees everybody (default: 6)"
        ),
        synthetic.add_argument(
            "--images", type=int, help="pictures of each person by each camera (default: 3)"
        ),
        synthetic.add_argument(
            "--distractors", type=int, help="pictures of strangers in the gallery (default: 300)"
        ),
        synthetic.add_argument(
            "--junk", type=int, help="badly cropped pictures in the gallery (default: 100)"
        ),
    ]
    return parser, drawn


def parse_arguments(argv: list[str] | None = None) -> Namespace:
    """Return the flags; `drawing` holds those given for drawing people, `reading` those given for
    reading a data set.

    Raises UserError if they contradict.
    """
    parser, drawn = preparing_parser()
    options = parser.parse_args(argv)
    drawing = {
        action.dest: value
        for action in drawn
        if (value := getattr(options, action.dest)) is not None
    }
    if drawing and not options.synthetic:
        flags = ", ".join(action.option_strings[0] for action in drawn if action.dest in drawing)
        raise UserError(f"{flags} would be ignored without --synthetic, which draws people.")
    options.dataset = options.dataset and data_set_named(options.dataset)
    if options.synthetic and options.dataset not in (None, "synthetic"):
        raise UserError(f"--synthetic and --dataset {options.dataset} exclude each other.")
    options.dataset = options.dataset or (
        "csv" if options.csv else "folder" if options.pattern else None
    )
    if options.csv and not options.data_dir:
        options.data_dir = Path(options.csv).parent
    names = ("pattern", "csv", "test_fraction", "min_visibility", "frame_stride", "classes", "seed")
    options.reading = {
        name: value for name in names if (value := getattr(options, name)) is not None
    }
    if options.bits and (options.synthetic or options.check):
        raise UserError(
            "--bits would be ignored: it is about images of more than 8 bits that are laid out."
        )
    if options.synthetic and "seed" in options.reading:
        drawing["seed"] = options.reading.pop("seed")
    if options.synthetic and options.reading and not options.check:
        flags = ", ".join(f"--{name}" for name in options.reading)
        raise UserError(
            f"--synthetic and {flags} exclude each other: people are drawn, or images are read."
        )
    options.drawing = drawing
    if options.check:
        refuse_beside_check(options)
    if options.corrections and not options.data_dir:
        raise UserError(
            "--corrections needs --data_dir LAYOUT, the folder that the list was made from."
        )
    if options.corrections and (options.dataset or options.synthetic or options.reading):
        raise UserError(
            "--corrections changes a layout: give no flag beside it but --data_dir and --save_dir."
        )
    return options


def refuse_beside_check(options: Namespace) -> None:
    """Raise UserError unless --data_dir is the only flag beside --check."""
    if not options.data_dir:
        raise UserError("--check needs --data_dir LAYOUT, a folder that prepare.py has made.")
    if (
        options.save_dir
        or options.dataset
        or options.synthetic
        or options.reading
        or options.corrections
    ):
        raise UserError("--check only reads a layout: give no flag beside it but --data_dir.")


def main(argv: list[str] | None = None) -> None:
    """Lay out the data set that the flags name, or draw one."""
    options = parse_arguments(argv)
    if options.save_dir:
        check_way(options.save_dir)
    if options.check:
        from person_reid.data.leakage import describe_leakage, find_leakage  # torch loads slowly

        found = find_leakage(options.data_dir)
        print(printable("\n".join(describe_leakage(options.data_dir, found))))
        return
    if options.synthetic:
        from person_reid.synthetic.dataset import draw_data_set

        options.dataset = "synthetic"
        options.data_dir = folder = Path(options.data_dir or DATA_SETS["synthetic"].locations[0])
        drawn = draw_data_set(folder, **options.drawing)
        print(
            printable(
                f"drew {drawn:,} pictures in {folder}"
                if drawn
                else f"all pictures are in {folder} already"
            )
        )
    if options.corrections:
        data_set, data_dir = corrected(options.corrections), Path(options.data_dir)
        options.save_dir = options.save_dir or f"{real(data_dir)}_corrected"
    else:
        data_set, data_dir = find_data_set(options.data_dir, options.dataset)
    if data_set.read is None:
        print(printable("\n".join(describe_unlabelled(data_set, data_dir))))
        return
    data_set = with_flags(data_set, options.reading)
    # A download found without --data_dir goes where train.py and test.py look without --data_dir.
    save_dir = Path(options.save_dir or Path(options.data_dir or data_set.locations[0], "pytorch"))
    # of a layout
    limits = (0.0, 2.0**options.bits - 1) if options.bits else recorded_limits(Path(data_dir))
    done = lay_out(data_set, data_dir, save_dir, limits)
    counts = ", ".join(f"{number:,} {what}" for what, number in done.items())
    lines = [
        f"{data_set.name}: {data_dir} -> {save_dir}",
        counts,
        *describe_layout(data_set, save_dir),
    ]
    print(printable("\n".join([*lines, f"Next: {next_command(save_dir)}"])))
