# PYTHON_ARGCOMPLETE_OK
"""Compare networks on test sets: Rank@1, mAP, time and size, as a table and a picture.

    python tools/compare_networks.py --networks market osnet_market net.onnx \\
      --test_dirs ../Market/pytorch
    python tools/compare_networks.py --networks published --test_dirs ../Market/pytorch
    python tools/compare_networks.py --networks osnet_x0_25=osnet.pth \\
      "reid.xml --bgr --range 0..255" --test_dirs a b --save networks.png --json networks.json

A network is the name of a run, a folder of tools/save_pretrained.py, an exported file,
BACKBONE=FILE for a weight file, or a name that `python model.py --published` lists. Further flags
of test.py may follow it, in quotes. The word `published` stands for all published networks whose
files are on this machine. The time is for one view of an image on the CPU, without decoding; set
OMP_NUM_THREADS=1 to measure one core.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.compare_networks import CompareNetworksConfig
from person_reid.config.export import READABLE
from person_reid.config.look import TableForm, own_or
from person_reid.config.tested import TestConfig
from person_reid.console import parse, run_script, spelled_as_flags
from person_reid.console.named_network import network_named
from person_reid.console.outputs import check_outputs
from person_reid.data.layout import check_test_sets
from person_reid.deploy.exported_files import file_size
from person_reid.deploy.find import tested_network
from person_reid.deploy.publish import accuracy, milliseconds
from person_reid.files import real, with_ending, write_json
from person_reid.models.published.hub import on_disk, weight_file
from person_reid.models.weight_files import SAFETENSORS
from person_reid.retrieval import metric_tables
from person_reid.text import as_command

PUBLISHED_COLUMN = "published"


@spelled_as_flags()
def main(argv: list[str] | None = None) -> None:
    """Measure every network on every test set; print, write and draw the result."""
    config = parse(CompareNetworksConfig, argv, __doc__)
    check_test_sets(config.test_dirs)
    check_outputs(config, json=[config.json], save=[config.save])
    texts = named_here(config.networks)
    networks = [network_named(text, "networks", config.gpu_ids) for text in texts]
    names = own_or(short_names(texts), config.labels)
    rows = [
        measure(name, network, config.test_dirs)
        for name, network in zip(names, networks, strict=True)
    ]
    print(table(rows, config, config.labels))
    if config.json:
        write_json(config.json, rows)
    if config.save:
        from person_reid.show.accuracy_by_time import (
            draw_accuracy_by_time,  # matplotlib loads slowly
        )

        labels = config.labels and ",".join(dict.fromkeys(names))  # the rows already have them
        draw_accuracy_by_time(rows, config.save, replace(config, labels=labels))


def named_here(texts: Sequence[str]) -> list[str]:
    """Return the networks of --networks, with those that `published` stands for."""
    found = on_disk() if PUBLISHED_COLUMN in texts else []
    if PUBLISHED_COLUMN in texts and not found:
        raise reid.UserError(
            f"--networks {PUBLISHED_COLUMN}: no file of a published network is on this machine. "
            f"`{as_command('model.py')} --published` lists them; "
            "--weights NAME says where a file belongs."
        )
    return [each for text in texts for each in (found if text == PUBLISHED_COLUMN else [text])]


def short_names(texts: Sequence[str]) -> list[str]:
    """Return names for the networks of --networks, without folders, endings and flags.

    Where such names would be the same, they stay as they are.
    """
    named = [shlex.split(text)[0].rpartition("=")[2] for text in texts]
    short = [
        with_ending(real(name).name or "root", "", *READABLE, ".pth", ".safetensors").name
        for name in named
    ]
    return short if len(set(short)) == len(texts) else list(texts)


def measure(name: str, network: TestConfig, test_dirs: Sequence[str]) -> dict[str, Any]:
    """Return the figures of a network, for a line of the table.

    They are {"network", "milliseconds", "megabytes", "accuracy": {test set: {"rank1", "mAP",
    "mAP_step"}}}. Figures of accuracy are fractions, as in every file of figures.
    """
    embedder = reid.open_embedder(network)
    found = {}
    for test_dir in test_dirs:
        row = accuracy(embedder, test_dir)
        title = row.data_set if row.data_set not in found else test_dir
        percents = {"rank1": row.rank1, "mAP": row.mean_ap, "mAP_step": row.step_ap}
        found[title] = {name: round(percent / 100, 4) for name, percent in percents.items()}
    on_cpu = reid.open_embedder(replace(network, gpu_ids="-1", no_flip=not embedder.flips_inside))
    return {
        "network": name,
        "milliseconds": round(milliseconds(on_cpu), 2),
        "megabytes": round(megabytes(network), 2),
        "accuracy": found,
    }


def megabytes(network: TestConfig) -> float:
    """Return the size of a network's file; 0 for weights without a file, such as none."""
    path = Path(network.engine or weight_file(tested_network(network).weights))
    path = path / SAFETENSORS if path.is_dir() else path
    return file_size(path) / 1e6 if path.is_file() else 0.0


def table(rows: Sequence[dict[str, Any]], form: TableForm, labels: str | None = None) -> str:
    """Return a table; the AP is the trapezoidal one. People read both figures in one cell.

    labels: see metric_tables.written_table.
    """
    sets, cells = list(rows[0]["accuracy"]), []
    for row in rows:
        pairs = [
            [f"{100 * found['rank1']:.2f}", f"{100 * found['mAP']:.2f}"]
            for found in row["accuracy"].values()
        ]
        figures = chain(*pairs) if form.for_files else map(" / ".join, pairs)
        cells.append([row["network"], *figures, str(row["milliseconds"]), str(row["megabytes"])])
    names = ("Rank@1, %", "mAP, %") if form.for_files else ("Rank@1 / mAP, %",)
    of_sets = [f"{each}: {name}" for each in sets for name in names]
    return metric_tables.written_table(
        ["network", *of_sets, "ms an image", "MB"], cells, form, labels
    )


if __name__ == "__main__":
    run_script(main)
