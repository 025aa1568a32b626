# PYTHON_ARGCOMPLETE_OK
"""Compare networks on test sets: Rank@1, mAP, time and size, as a table and a picture.

    python tools/compare_networks.py --networks market osnet_market net.onnx \\
      --test_dirs ../Market/pytorch
    python tools/compare_networks.py --networks published --test_dirs ../Market/pytorch
    python tools/compare_networks.py --networks osnet_x0_25=osnet.pth \\
      "reid.xml --bgr --range 0..255" --test_dirs a b --save networks.png --json networks.json
    python tools/compare_networks.py --results a.mat b.mat   # is b better than a?

A network is the name of a run, a folder of tools/save_pretrained.py, an exported file,
BACKBONE=FILE for a weight file, or a name that `python model.py --published` lists. Flags of
test.py can follow it inside quotes. The word `published` means all published networks whose files
are on this machine. The time is for one view of an image on the CPU, without decoding; set
OMP_NUM_THREADS=1 to measure one core.

--bootstrap also compares each network with the first on the same queries: the difference between
their metrics, its 95 % confidence interval, and the p-value of a sign-flip test, both over
identities. --results does the same for features that test.py wrote.
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
from person_reid.config.evaluate import BOOTSTRAP_DRAWS, CONFIDENCE, EvaluationOptions
from person_reid.config.forms import file_ending_in, picture_file
from person_reid.config.look import Look, TableForm, own_or
from person_reid.config.option import option, redeclared
from person_reid.config.run import DeviceOptions
from person_reid.config.tested import READABLE, TestConfig
from person_reid.console import parse, run_script
from person_reid.console.named_network import network_named
from person_reid.console.outputs import check_outputs
from person_reid.data.layout import check_test_sets
from person_reid.deploy.exported_files import file_size
from person_reid.deploy.find import tested_network
from person_reid.deploy.publish import about_data, milliseconds, query_and_gallery
from person_reid.files import real, with_ending, write_json
from person_reid.models.published.hub import on_disk, weight_file
from person_reid.models.weight_files import SAFETENSORS
from person_reid.retrieval import metric_tables
from person_reid.retrieval.results import RESULT, check_same_images


class CompareNetworksConfig(Look, TableForm, DeviceOptions):
    """All options of tools/compare_networks.py."""

    networks: tuple[str, ...] = option(
        (),
        "runs, published names or files, each with flags of test.py",
        metavar="NETWORK",
        several="+",
    )
    test_dirs: tuple[str, ...] = option((), "layouts of prepare.py", metavar="DIR", several="+")
    results: tuple[str, ...] = option(
        (), "instead: files of test.py, each compared with the first", metavar="FILE", several="+"
    )
    bootstrap: int | None = redeclared(
        EvaluationOptions,
        "bootstrap",
        None,
        help="also compare each with the first, from N draws of identities (without N: 10000)",
    )
    gpu_ids: str = redeclared(
        DeviceOptions, "gpu_ids", "0", help="GPU for the accuracy; -1 for the CPU", common=False
    )
    json: str | None = option(
        None, "also write the metrics to a file", form=file_ending_in(".json"), metavar="FILE"
    )
    save: str | None = option(
        None, "draw mAP against time, such as networks.png", form=picture_file, metavar="FILE"
    )

    def fault(self) -> str:
        """Return why the options conflict, or "" if they do not."""
        ignored = self.not_default(("networks", "test_dirs", "gpu_ids", "save"))
        if self.results and ignored:
            return f"{', '.join(ignored)} would be ignored: results are compared as they are."
        if len(self.results) == 1:
            return "results: expected two files or more."
        if not self.results and not (self.networks and self.test_dirs):
            return "Expected networks and test_dirs, or results."
        return "" if self.save else self.ignored_without("save")


PUBLISHED_COLUMN = "published"
Row = dict[str, Any]
Rankings = dict[str, reid.Metrics]  # {test set: its ranking}


def main(argv: list[str] | None = None) -> None:
    """Measure every network on every test set; print, write and draw the result."""
    config = parse(CompareNetworksConfig, argv, __doc__)
    check_outputs(config, json=[config.json], save=[config.save])
    rows, rankings = of_results(config.results) if config.results else of_networks(config)
    print(table(rows, config, config.labels))
    if config.results or config.bootstrap:
        differ = differences(rows, rankings, config.bootstrap or BOOTSTRAP_DRAWS)
        print(f"\n{difference_table(differ, config)}")
        rows = [rows[0], *differ]
    if config.json:
        write_json(config.json, rows)
    if config.save:
        from person_reid.show.charts import (
            draw_accuracy_by_time,  # loads matplotlib, which is slow
        )

        names = [row["network"] for row in rows]
        labels = config.labels and ",".join(dict.fromkeys(names))  # the rows have them already
        draw_accuracy_by_time(rows, config.save, replace(config, labels=labels))


def of_networks(config: CompareNetworksConfig) -> tuple[list[Row], list[Rankings]]:
    """Return a row of the table for each network, and its rankings."""
    check_test_sets(config.test_dirs)
    texts = named_here(config.networks)
    if config.bootstrap and len(texts) < 2:
        raise reid.UserError("bootstrap: expected two networks or more.")
    networks = [network_named(text, "networks", config.gpu_ids) for text in texts]
    names = own_or(short_names(texts), config.labels)
    measured = [
        measure(name, network, config.test_dirs)
        for name, network in zip(names, networks, strict=True)
    ]
    return [row for row, _ in measured], [rankings for _, rankings in measured]


def of_results(files: Sequence[str]) -> tuple[list[Row], list[Rankings]]:
    """Return the same as of_networks, for result files of test.py with the same images."""
    first = reid.load_result(files[0], paths=True)
    reid.remark_unmatched(*first)
    title = f"{len(first[0]):,} queries, {len(first[1]):,} gallery images"
    rows, rankings = [], []
    for name, file in zip(shortened(files, files), files, strict=True):
        sets = reid.load_result(file, paths=True)
        check_same_images(first, files[0], sets, file)
        figures, ranking = ranked(*sets)
        rows.append({"network": name, "accuracy": {title: figures}})
        rankings.append({title: ranking})
    return rows, rankings


def named_here(texts: Sequence[str]) -> list[str]:
    """Return the networks in --networks, with `published` expanded."""
    published = on_disk() if PUBLISHED_COLUMN in texts else []
    return [each for text in texts for each in (published if text == PUBLISHED_COLUMN else [text])]


def short_names(texts: Sequence[str]) -> list[str]:
    """Return names for the networks in --networks, without folders, extensions or flags.

    Names that would become equal are not shortened.
    """
    return shortened([shlex.split(text)[0].rpartition("=")[2] for text in texts], texts)


def shortened(files: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return file names without folders or extensions, or `texts` if such names repeat."""
    endings = (*READABLE, ".pth", ".safetensors", RESULT.suffix)
    short = [with_ending(real(name).name or "root", "", *endings).name for name in files]
    return short if len(set(short)) == len(texts) else list(texts)


def measure(name: str, network: TestConfig, test_dirs: Sequence[str]) -> tuple[Row, Rankings]:
    """Return a network's metrics, for a row of the table, and its rankings.

    The metrics are {"network", "milliseconds", "megabytes", "accuracy": {test set: metrics}}.
    """
    embedder = reid.open_embedder(network)
    accuracy: dict[str, dict[str, float]] = {}
    rankings: Rankings = {}
    for test_dir in test_dirs:
        data_set, _ = about_data(test_dir)
        title = data_set if data_set not in accuracy else test_dir
        query, gallery = query_and_gallery(embedder, test_dir)
        reid.remark_unmatched(query, gallery)
        accuracy[title], rankings[title] = ranked(query, gallery)
    on_cpu = reid.open_embedder(replace(network, gpu_ids="-1", no_flip=not embedder.flips_inside))
    row = {
        "network": name,
        "milliseconds": round(milliseconds(on_cpu), 2),
        "megabytes": round(megabytes(network), 2),
        "accuracy": accuracy,
    }
    return row, rankings


def ranked(
    query: reid.FeatureSet, gallery: reid.FeatureSet
) -> tuple[dict[str, float], reid.Metrics]:
    """Return {"rank1", "mAP", "mAP_step"} for a ranking, and the ranking itself.

    The metrics are fractions, as in all files of metrics.
    """
    found, step = reid.evaluate(query, gallery), reid.evaluate(query, gallery, ap="step")
    figures = {"rank1": found.rank(1), "mAP": found.mAP, "mAP_step": step.mAP}
    return {name: round(value, 4) for name, value in figures.items()}, found


def megabytes(network: TestConfig) -> float:
    """Return the size of a network's file, or 0 if the weights are not in a file."""
    path = Path(network.engine or weight_file(tested_network(network).weights))
    path = path / SAFETENSORS if path.is_dir() else path
    return file_size(path) / 1e6 if path.is_file() else 0.0


def table(rows: Sequence[dict[str, Any]], form: TableForm, labels: str | None = None) -> str:
    """Return the table; except in LaTeX and CSV, Rank@1 and the trapezoidal mAP share a cell.

    labels: see metric_tables.written_table.
    """
    sets, cells = list(rows[0]["accuracy"]), []
    costs = {
        title: name
        for title, name in (("ms an image", "milliseconds"), ("MB", "megabytes"))
        if name in rows[0]
    }
    for row in rows:
        pairs = [
            [f"{100 * found['rank1']:.2f}", f"{100 * found['mAP']:.2f}"]
            for found in row["accuracy"].values()
        ]
        figures = chain(*pairs) if form.for_files else map(" / ".join, pairs)
        cells.append([row["network"], *figures, *(str(row[name]) for name in costs.values())])
    names = ("Rank@1, %", "mAP, %") if form.for_files else ("Rank@1 / mAP, %",)
    of_sets = [f"{each}: {name}" for each in sets for name in names]
    return metric_tables.written_table(["network", *of_sets, *costs], cells, form, labels)


def differences(rows: Sequence[Row], rankings: Sequence[Rankings], draws: int) -> list[Row]:
    """Return all rows except the first, as differences from the first."""
    found = []
    for row, ranking in zip(rows[1:], rankings[1:], strict=True):
        of_sets = {
            title: reid.paired_differences(rankings[0][title], metrics, (1,), draws)
            for title, metrics in ranking.items()
        }
        figures = {
            title: {name: each._asdict() for name, each in of_set.items()}
            for title, of_set in of_sets.items()
        }
        found.append(row | {"compared_with": rows[0]["network"], "differences": figures})
    return found


def difference_table(rows: Sequence[Row], form: TableForm) -> str:
    """Return a table of differences in percentage points, with their intervals and p-values."""
    cells = [
        [
            title,
            f"{row['network']} - {row['compared_with']}",
            name.replace("rank", "Rank@"),
            *(f"{100 * figure[end]:.2f}" for end in ("value", "low", "high")),
            f"{figure['p']:.4f}",
        ]
        for row in rows
        for title, figures in row["differences"].items()
        for name, figure in figures.items()
    ]
    share = f"{100 * CONFIDENCE:g} %"
    head = ["test set", "networks", "metric", "difference", f"{share} from", f"{share} to", "p"]
    return metric_tables.written_table(head, cells, form)


if __name__ == "__main__":
    run_script(main)
