# PYTHON_ARGCOMPLETE_OK
"""List images whose features contradict their identity, with a proposal and its probability.

    python tools/label_errors.py --backbone osnet_x0_25 --weights osnet_x0_25_msmt17.pth
    python tools/label_errors.py --data_dir mine/pytorch --weights osnet_x0_25_msmt17 \\
      --split gallery
    python tools/label_errors.py --data_dir mine/pytorch --weights osnet_x0_25_msmt17 \\
      --accept_above 0.95

It writes label_errors.csv (the list, the most suspicious image first), label_errors.png (these
images beside their neighbours) and label_errors.mat (the features). Nothing else is changed. Decide
which proposals are right, in the column accept or in the browser, then apply the list:

    python tools/explore.py --label_errors label_errors.csv
    python prepare.py --data_dir mine/pytorch --corrections label_errors.csv

The network must not have been trained on these labels, because it would have memorised their
errors. Use a network that was trained on other people.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.forms import output_path
from person_reid.config.look import PaperLook
from person_reid.config.option import FRACTION, PART, POSITIVE, Options, option, redeclared
from person_reid.config.run import RecordOptions
from person_reid.config.tested import TrainedNetwork
from person_reid.config.zoo import PACKAGED_NETWORK
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_beside, check_outputs
from person_reid.data.layout import JUNK
from person_reid.data.own.corrections import CHECKED_SPLITS, CORRECTION_COLUMNS
from person_reid.data.own.csv_tables import read_table
from person_reid.deploy.find import tested_network
from person_reid.files import real, set_aside, with_ending, write_csv
from person_reid.retrieval.label_errors import LabelErrors, label_errors
from person_reid.retrieval.results import save_gallery
from person_reid.text import as_command, printable, quoted

PRINTED = 10  # images to print


class LabelErrorOptions(Options, title="labels"):
    """The labels to check, the labels to list, and the files to write."""

    data_dir: str = option(
        "../Market/pytorch", "folder laid out by prepare.py", metavar="DIR", common=True
    )
    split: str = option("train_all", "folder of --data_dir", choices=CHECKED_SPLITS, common=True)
    least: float = option(
        0.3, "lowest probability of a proposal that is listed", range=PART, common=True
    )
    accept_above: float | None = option(
        None,
        "accept proposals of at least this probability",
        range=FRACTION,
        metavar="P",
        common=True,
    )
    save: str = option(
        "label_errors.csv", "list to write", form=output_path, metavar="FILE", common=True
    )
    shown: int = option(
        20, "number of images in the picture beside it", range=POSITIVE, common=True
    )
    runtime: str | None = redeclared(RecordOptions, "runtime", None, needs={}, common=True)


class LabelErrorsConfig(PaperLook, TrainedNetwork, LabelErrorOptions):
    """All options of tools/label_errors.py."""


def main(argv: list[str] | None = None) -> None:
    """Extract the features, find the errors, write the list and draw the sheet."""
    config = parse(LabelErrorsConfig, argv, __doc__)
    layout = Path(config.data_dir)
    split = reid.read_split(layout, config.split)
    people = np.flatnonzero(split.labels != JUNK)
    paths = [split.paths[i] for i in people]
    labels, cameras = split.labels[people], split.cameras[people]
    table, sheet, kept = (
        with_ending(config.save, ending, ".csv", ".png") for ending in (".csv", ".png", ".mat")
    )
    check_outputs(config, paths, save=[table, sheet, kept])
    check_beside("save", table, sheet, kept)
    holds_decisions(table)  # before the work, as a list that cannot be read is not replaced
    check_not_trained_on(config, layout)

    device = reid.select_device(config.gpu_ids)
    embedder = reid.Embedder(tested_network(config), device=device, runtime=config.runtime)
    cache = layout / ".cache"
    bank = reid.load_bank(split.paths, *embedder.size, cache, config.split, embedder.resize)
    features = embedder.features(bank, config.split)[people]
    found = label_errors(features, labels, cameras, highest_identity(layout))
    least = max(config.least, np.finfo(float).tiny)
    listed = [int(i) for i in found.order if found.probability[i] >= least]

    if holds_decisions(table):
        previous = set_aside(table)
        print(printable(f"{previous}: the earlier list, with its decisions"))
    names = [path.relative_to(layout).as_posix() for path in paths]
    write_csv(table, CORRECTION_COLUMNS, rows(config, found, names, labels, listed))
    sources = [path.as_posix() for path in paths]
    save_gallery(kept, reid.FeatureSet(features, labels, cameras, sources))
    share = f"{100 * found.accuracy:.0f} %"
    print(f"The network finds the right person first for about {share} of these images.")
    wrong = f"{len(listed)} of {len(paths)} labels look wrong"
    print(f"{table}: {wrong} (probability ≥ {config.least:g})")
    for i in listed[:PRINTED]:
        proposal = f"{found.proposal[i]} {labels[i]} → {found.identity[i]}"
        print(printable(f"  {paths[i].name}: {proposal}? {found.probability[i]:.2f}"))

    if listed:
        from person_reid.show.image_sheets import draw_doubtful  # matplotlib loads slowly

        shown = listed[: config.shown]
        draw_doubtful(
            paths,
            features,
            labels,
            cameras=cameras,
            found=found,
            shown=shown,
            save=sheet,
            look=config.look,
        )
        decide = f"{as_command('tools/explore.py')} --label_errors {quoted(table)}"
        print(f"The picture is in {sheet}. To decide: {decide}")


def check_not_trained_on(config: LabelErrorsConfig, layout: Path) -> None:
    """Raise UserError if the network is a run that learned the labels to check."""
    run = reid.run_of(config)
    if not run or config.split != "train_all":
        return
    options = reid.RunFolder(run).options({"data_dir", "train_with"})
    roots = [options.get("data_dir"), *str(options.get("train_with") or "").split(",")]
    if real(layout) in [real(str(root)) for root in roots if root]:
        raise reid.UserError(
            f"name={run}: trained on {layout}, so it has memorised the labels to check. Name a "
            f"network that was trained on other people: --from {PACKAGED_NETWORK}"
        )


def rows(
    config: LabelErrorsConfig,
    found: LabelErrors,
    names: Sequence[str],
    labels: npt.NDArray[np.int64],
    listed: Iterable[int],
) -> Iterator[tuple[object, ...]]:
    """Yield the rows of the list, whose columns are CORRECTION_COLUMNS."""
    for i in listed:
        probability = found.probability[i]
        accepted = config.accept_above is not None and probability >= config.accept_above
        proposal = found.proposal[i], found.identity[i], f"{probability:.3f}"
        yield printable(names[i]), labels[i], *proposal, "yes" if accepted else ""


def highest_identity(layout: Path) -> int:
    """Return the highest identity in any folder of a layout; new identities are higher."""
    names = (people.name for folder in CHECKED_SPLITS for people in (layout / folder).glob("*"))
    return max((int(name) for name in names if re.fullmatch("[0-9]{1,9}", name)), default=0)


def holds_decisions(table: Path) -> bool:
    """Return whether the user has filled in the column `accept` of an earlier list.

    Raises UserError if the file is not such a list.
    """
    if not table.exists() or (table.is_file() and not table.stat().st_size):
        return False
    try:
        lines = read_table(table, CORRECTION_COLUMNS, may_be_empty=True)
    except reid.UserError as error:
        raise reid.UserError(
            f"save={table} exists, cannot be read as a list of label errors, and is not "
            f"replaced. Move it, or choose another name. {error}"
        ) from error
    return any(line["accept"] for _, line in lines)


if __name__ == "__main__":
    run_script(main)
