# PYTHON_ARGCOMPLETE_OK
"""Write a page about a tested run: network, metrics, curves, thresholds, rankings and heat maps.

    python tools/report.py --name ft_ResNet50
    python tools/report.py --name ft_ResNet50 --result market.mat --save report.html
    python tools/report.py --name ft_ResNet50 --test_dir ../Market/pytorch  # images that have moved
    python tools/report.py --backbone osnet_x0_25 --weights osnet.pth       # a weight file

The page is a single file without external references: it can be mailed, and read offline, on a
phone or a dark screen. It contains small photographs of people unless --no_images is given. The
features come from test.py.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from markupsafe import Markup

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.evaluate import EvaluationOptions, RerankOptions
from person_reid.config.files import check_plugins
from person_reid.config.forms import file_ending_in
from person_reid.config.look import ShownFiles
from person_reid.config.option import WHOLE, Options, option, redeclared
from person_reid.config.tested import TrainedNetwork
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.deploy.find import check_result_of, tested_network
from person_reid.deploy.load import load_network
from person_reid.files import write_text
from person_reid.models.complexity import used_parameters
from person_reid.retrieval.results import FEATURE_FLAGS, PLAIN, read_note
from person_reid.text import printable
from person_reid.training.writers import recorded_options

if TYPE_CHECKING:
    from person_reid.show.report import Tested


class ReportFiles(Options, title="files"):
    """The features to read, and the page to write."""

    result: str = redeclared(ShownFiles, "result", "pytorch_result.mat", common=True)
    multi_query: str | None = redeclared(EvaluationOptions, "multi_query", None)
    test_dir: str | None = redeclared(ShownFiles, "test_dir", None, common=True)
    save: str | None = option(
        None,
        "page to write (default: model/NAME/report.html)",
        form=file_ending_in(".html", ".htm"),
        metavar="FILE",
        common=True,
    )


class ReportContent(Options, title="what the page shows"):
    """The parts of the page."""

    queries: int = option(
        3, "number of rankings, spread evenly over the queries", range=WHOLE, common=True
    )
    worst: int = option(3, "number of rankings with the lowest AP", range=WHOLE, common=True)
    no_images: bool = option(False, "omit photographs: rankings and heat maps", common=True)
    no_heatmaps: bool = option(False, "omit heat maps; needs no network", common=True)
    no_rerank: bool = option(False, "omit the re-ranked metrics", common=True)


class ReportConfig(RerankOptions, TrainedNetwork, ReportContent, ReportFiles):
    """All options of tools/report.py."""

    def fault(self) -> str:
        """Return which options would be ignored because the page omits their part, or ""."""
        if self.no_rerank and (ignored := self.not_default(RerankOptions.declared())):
            return f"{', '.join(ignored)} would be ignored beside no_rerank: leave them out."
        if self.no_images and (ignored := self.not_default(("queries", "worst", "test_dir"))):
            return f"{', '.join(ignored)} would be ignored beside no_images: leave one out."
        if (self.no_images or self.no_heatmaps) and (
            ignored := self.not_default(("height", "width"))
        ):
            beside = "no_images" if self.no_images else "no_heatmaps"
            return (
                f"{', '.join(ignored)} would be ignored beside {beside}: "
                "heat maps alone need the size. Leave it out."
            )
        return ""


def described(run: reid.RunFolder) -> dict[str, Any]:
    """Return the options of a run. Raises UserError if they need a plugin that is not loaded."""
    config = run.config()
    try:
        reid.check_training(config)
        return recorded_options(config)
    except reid.UserError:
        check_plugins(run.options(), run.options_file)
        raise


def main(argv: list[str] | None = None) -> None:
    """Measure and draw a run, and write its page."""
    config = parse(ReportConfig, argv, __doc__)
    name = reid.run_of(config)
    run = described(reid.RunFolder(name)) if name else None
    save = Path(config.save or (reid.RunFolder(name).report if name else "report.html"))
    check_outputs(config, [reid.multi_query_file(config.result)], save=[save])
    query, gallery = reid.load_result(config.result, paths=True)
    check_result_of(config.result, config)
    reid.remark_unmatched(query, gallery)
    multi_query = reid.read_multi_query(config.result, query, config.multi_query)

    from person_reid.show import page, report  # matplotlib loads slowly

    rescore = None if config.no_rerank else reid.rescorer(config)
    tested = report.measured_rankings(query, gallery, multi_query, rescore)
    history = reid.RunFolder(name).history() if name else []
    body = [page.numbers(about) if (about := about_network(config, history)) else Markup()]
    body.append(report.metrics_section(tested, config.test_dir))
    if history:
        body.append(report.curves_section(history))
    body += [report.thresholds_section(tested), report.map_section(tested, config.test_dir)]
    if not config.no_images:
        body += rankings(config, tested)
    if run:
        options = page.table(["flag", "value"], run.items())
        body.append(page.details("Options of the run", options))

    title = name or config.from_run or config.backbone or ""
    write_text(save, printable(page.html_page(title, subtitle(config, query, gallery), body)))
    print(f"The report is in {save} ({save.stat().st_size / 1e6:.1f} MB)")


def rankings(config: ReportConfig, tested: "Tested") -> list[Markup]:
    """Return the sections with rankings, with heat maps below the images if requested."""
    from person_reid.show import ranking, report

    heat, remark = None, ""
    if not config.no_heatmaps:
        network, device = tested_network(config), reid.select_device(config.gpu_ids)
        heat = partial(report.heated, load_network(network), network.size, device)
        remark = "Below each image: where the network's last feature map is strongest."
    shown = {}
    if config.queries:
        shown["Rankings"] = report.spread(len(tested.query), config.queries)
    if config.worst:
        worst = ranking.chosen_queries(tested.query, tested.gallery, worst=config.worst)
        shown["The worst rankings"] = worst
    return [
        report.rankings_section(title, tested, indices, config.test_dir, heat, remark)
        for title, indices in shown.items()
    ]


def about_network(config: ReportConfig, history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the network, image size, parameters and checkpoint, or {} if no network is given.

    history: the epochs of the run; empty for a weight file.
    """
    try:
        tested = tested_network(config)
    except (reid.UserError, FileNotFoundError):
        return {}
    with torch.device("meta"):  # tensors have shapes but no values
        network = reid.build_network(tested.spec, tested.num_classes, "none")
    label = Path(tested.weights).name
    if reid.run_of(config):
        label = Path(label).stem.removeprefix("net_")
        epoch = history[-1]["epoch"] if label == "last" and history else label
        label = f"epoch {int(epoch)}" if str(epoch).isdecimal() else label
    height, width = tested.size
    return {
        "network": tested.spec.backbone,
        "image size": f"{height} × {width}",
        "parameters": f"{used_parameters(network):,}",
        "checkpoint": label,
    }


def subtitle(config: ReportConfig, query: reid.FeatureSet, gallery: reid.FeatureSet) -> str:
    """Return what was tested, with which flags of test.py, and when the page was written."""
    people = len(np.unique(query.labels))
    images = f"{len(query):,} queries of {people:,} people, {len(gallery):,} gallery images"
    flags = read_note(config.result, FEATURE_FLAGS)
    source = config.result if flags in ("", PLAIN) else f"{config.result} of test.py {flags}"
    return f"{images} · {source} · {datetime.now():%Y-%m-%d %H:%M}"


if __name__ == "__main__":
    run_script(main)
