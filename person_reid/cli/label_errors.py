"""List images whose identity the features contradict, with a proposal and the probability that it
is right.

    python tools/label_errors.py --data_dir ../Market/pytorch --backbone osnet_x0_25 \\
      --weights osnet_x0_25_msmt17.pth
    python tools/label_errors.py --data_dir mine/pytorch --from osnet_msmt17 --split gallery \\
      --least 0.8
    python tools/label_errors.py --data_dir mine/pytorch --from osnet_msmt17 --accept_above 0.95

Writes label_errors.csv (the list, the most suspicious image first), label_errors.png (these images
beside their neighbours) and label_errors.mat (the features). Nothing else is changed. Decide which
proposals are right, in the column accept or in the browser, then apply the list:

    python tools/explore.py --label_errors label_errors.csv
    python prepare.py --data_dir mine/pytorch --corrections label_errors.csv

The network must not have been trained on these labels, because it would have memorised their
errors: take one that was trained on other people.
"""

import re
from argparse import Namespace
from pathlib import Path

import numpy as np

from person_reid.basics import UserError, printable, quoted, set_aside, with_ending, write_csv
from person_reid.cli.flags import add_runtime, add_tested_network
from person_reid.cli.parser import Parser
from person_reid.cli.tested import tested_network
from person_reid.cli.values import fraction, output_path, part, positive
from person_reid.console.outputs import check_beside, check_outputs
from person_reid.data.bank import load_bank
from person_reid.data.corrections import COLUMNS, FOLDERS
from person_reid.data.layout import JUNK, read_split
from person_reid.data.tables import read_table
from person_reid.deploy.embedder import Embedder
from person_reid.device import select_device
from person_reid.retrieval.label_errors import label_errors
from person_reid.retrieval.results import FeatureSet, save_gallery

PRINTED = 10  # images


def main(argv: list[str] | None = None) -> None:
    """Extract the features, find the errors, write the list and draw the sheet."""
    options = parse(argv)
    split = read_split(options.data_dir, options.split)
    people = np.flatnonzero(split.labels != JUNK)
    paths, labels, cameras = (
        [split.paths[i] for i in people],
        split.labels[people],
        split.cameras[people],
    )
    table, sheet, kept = (
        with_ending(options.save, ending, ".csv", ".png") for ending in (".csv", ".png", ".mat")
    )
    check_outputs(options, paths, save=[table, sheet, kept])
    check_beside("save", table, sheet, kept)
    holds_decisions(table)  # before the work: a list that cannot be read is not replaced
    embedder = Embedder(
        tested_network(options), device=select_device(options.gpu_ids), runtime=options.runtime
    )
    bank = load_bank(split.paths, *embedder.size, options.data_dir / ".cache", options.split)
    features = embedder.features(bank, options.split)[people]
    found = label_errors(features, labels, cameras, highest_identity(options.data_dir))
    listed = [
        int(i)
        for i in found.order
        if found.probability[i] >= max(options.least, np.finfo(float).tiny)
    ]
    above = 2 if options.accept_above is None else options.accept_above  # nothing is above 1
    rows = (
        (
            printable(paths[i].relative_to(options.data_dir).as_posix()), labels[i],
            found.proposal[i], found.identity[i], f"{found.probability[i]:.3f}",
            "yes" if found.probability[i] >= above else "",
        )
        for i in listed
    )  # fmt: skip
    if holds_decisions(table):
        previous = set_aside(table)
        print(printable(f"{previous}: the earlier list, with what was decided in it"))
    write_csv(table, COLUMNS, rows)
    save_gallery(kept, FeatureSet(features, labels, cameras, [path.as_posix() for path in paths]))
    print(
        "The network finds the right person first for about "
        f"{100 * found.accuracy:.0f} % of these images."
    )
    print(
        f"{table}: {len(listed)} of {len(paths)} labels look wrong "
        f"(probability ≥ {options.least:g})"
    )
    for i in listed[:PRINTED]:
        proposal = f"{found.proposal[i]} {labels[i]} → {found.identity[i]}"
        print(printable(f"  {paths[i].name}: {proposal}? {found.probability[i]:.2f}"))
    if listed:
        from person_reid.show.doubtful import draw_doubtful  # matplotlib loads slowly

        draw_doubtful(paths, features, labels, cameras, found, listed[: options.shown], sheet)
        print(
            f"The picture is in {sheet}. To decide: python tools/explore.py "
            f"--label_errors {quoted(table)}"
        )


def parse(argv: list[str] | None) -> Namespace:
    """Return the options."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--data_dir",
        type=Path,
        default=Path("../Market/pytorch"),
        metavar="DIR",
        help="folder laid out by prepare.py",
    )
    parser.add_argument("--split", choices=FOLDERS, default=FOLDERS[0], help="folder of --data_dir")
    parser.add_argument(
        "--least", type=part, default=0.3, help="lowest probability of a proposal that is listed"
    )
    parser.add_argument(
        "--accept_above",
        type=fraction,
        metavar="P",
        help="accept proposals of at least this probability",
    )
    parser.add_argument(
        "--save", type=output_path, default=Path("label_errors.csv"), help="list to write"
    )
    parser.add_argument(
        "--shown", type=positive(int), default=20, help="number of images in the picture beside it"
    )
    add_tested_network(parser)
    add_runtime(parser)
    return parser.parse_args(argv)


def highest_identity(layout: Path) -> int:
    """Return the highest identity in any folder of a layout, for new ones to be different."""
    names = (people.name for folder in FOLDERS for people in (layout / folder).glob("*"))
    return max((int(name) for name in names if re.fullmatch("[0-9]{1,9}", name)), default=0)


def holds_decisions(table: Path) -> bool:
    """Return whether somebody has filled in the column `accept` of an earlier list.

    Raises UserError if there is a file that cannot be read as such a list.
    """
    if not table.is_file() or not table.stat().st_size:
        return False
    try:
        rows = read_table(table, COLUMNS, may_be_empty=True)
    except UserError as error:
        raise UserError(
            f"--save {table} exists, cannot be read as a list of label errors, and is not "
            f"replaced. Move it, or choose another name. {error}"
        ) from error
    return any(row["accept"] for _, row in rows)
