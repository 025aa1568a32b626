"""Compare networks on test sets: Rank@1, mAP, time and size, as a table and a picture.

    python tools/compare_networks.py --networks market osnet_market net.onnx \\
      --test_dirs ../Market/pytorch
    python tools/compare_networks.py --networks osnet_x0_25=osnet.pth \\
      "reid.xml --bgr --range 0..255" --test_dirs a b \\
        --save networks.png --json networks.json

A network is the name of a run, a folder of tools/save_pretrained.py, an exported file, or
BACKBONE=FILE for a weight file. Further flags of test.py may follow it, in quotes. The time is that
of one view of an image on the CPU, without decoding; set OMP_NUM_THREADS=1 to measure one core.
"""

import shlex
from argparse import Namespace
from pathlib import Path

from person_reid.basics import UserError, markdown_table, real, with_ending, write_json
from person_reid.cli.flags import given_flags
from person_reid.cli.outputs import check_outputs
from person_reid.cli.parser import Parser
from person_reid.cli.tested import OF_TESTS, network_flags, open_embedder, tested_network
from person_reid.cli.values import devices, file_ending_in, picture_file, some_path
from person_reid.data.layout import check_test_sets
from person_reid.deploy.publish import accuracy, milliseconds
from person_reid.deploy.run import READABLE, file_size
from person_reid.models.weight_files import SAFETENSORS


def main(argv: list[str] | None = None) -> None:
    """Measure every network on every test set; print, write and draw the result."""
    parser = Parser(__doc__)
    parser.add_argument("--networks", nargs="+", required=True, metavar="NETWORK", help="see above")
    parser.add_argument(
        "--test_dirs", nargs="+", required=True, type=some_path, help="layouts of prepare.py"
    )
    parser.add_argument(
        "--gpu_ids", type=devices, default="0", help="GPU for the accuracy; -1 for the CPU"
    )
    parser.add_argument(
        "--json",
        type=file_ending_in(".json"),
        metavar="FILE",
        help="write the figures to a file, too",
    )
    parser.add_argument(
        "--save",
        type=picture_file,
        metavar="FILE",
        help="draw mAP against time, such as networks.png",
    )
    options = parser.parse_args(argv)
    check_test_sets(options.test_dirs)
    check_outputs(options, json=[options.json], save=[options.save])
    described = [network_flags(text, options.gpu_ids) for text in options.networks]
    for text, flags in zip(options.networks, described, strict=True):
        if ignored := given_flags(flags, OF_TESTS):
            raise UserError(f"--networks {text!r}: {ignored} would be ignored; leave it out.")
    names = short_names(options.networks)
    rows = [
        measure(name, flags, options.test_dirs)
        for name, flags in zip(names, described, strict=True)
    ]
    print(table(rows))
    if options.json:
        write_json(options.json, rows)
    if options.save:
        from person_reid.show.tradeoff import draw_tradeoff  # matplotlib loads slowly

        draw_tradeoff(rows, options.save)


def short_names(texts: list[str]) -> list[str]:
    """Return names for the networks of --networks: without folders, endings
    and flags, if those still differ.
    """
    named = [shlex.split(text)[0].rpartition("=")[2] for text in texts]
    short = [
        with_ending(real(name).name or "root", "", *READABLE, ".pth", ".safetensors").name
        for name in named
    ]
    return short if len(set(short)) == len(texts) else texts


def measure(name: str, flags: Namespace, test_dirs: list[Path]) -> dict[str, object]:
    """Return {"network", "milliseconds", "megabytes", "accuracy": {test set: {"rank1", "mAP",
    "mAP_step"}}}.

    Figures of accuracy are fractions, as in every file of figures.
    """
    embedder = open_embedder(flags)
    found = {}
    for test_dir in test_dirs:
        row = accuracy(embedder, test_dir)
        title = row.data_set if row.data_set not in found else str(test_dir)
        percents = {"rank1": row.rank1, "mAP": row.mean_ap, "mAP_step": row.step_ap}
        found[title] = {name: round(percent / 100, 4) for name, percent in percents.items()}
    on_cpu = open_embedder(
        Namespace(**vars(flags) | {"gpu_ids": "-1", "no_flip": not embedder.flips_inside})
    )
    return {
        "network": name,
        "milliseconds": round(milliseconds(on_cpu), 2),
        "megabytes": round(megabytes(flags), 2),
        "accuracy": found,
    }


def megabytes(flags: Namespace) -> float:
    """Return the size of a network's file; 0 for weights that are no file, such as none."""
    path = Path(flags.engine or tested_network(flags).weights)
    path = path / SAFETENSORS if path.is_dir() else path
    return file_size(path) / 1e6 if path.is_file() else 0.0


def table(rows: list[dict[str, object]]) -> str:
    """Return a Markdown table; the AP is the trapezoidal one."""
    sets = list(rows[0]["accuracy"])  # type: ignore[call-overload]
    cells = []
    for row in rows:
        found: dict[str, dict[str, float]] = row["accuracy"]  # type: ignore[assignment]
        accuracies = [
            f"{100 * figures['rank1']:.2f} / {100 * figures['mAP']:.2f}"
            for figures in found.values()
        ]
        cells.append(
            [str(row["network"]), *accuracies, str(row["milliseconds"]), str(row["megabytes"])]
        )
    return markdown_table(
        ["network", *(f"{name}: Rank@1 / mAP, %" for name in sets), "ms an image", "MB"], cells
    ).rstrip()
