"""Write a tested run on one page, model/NAME/report.html: metrics, curves, thresholds, rankings and
heat maps.

    python tools/report.py --name ft_ResNet50
    python tools/report.py --name ft_ResNet50 --result market.mat --test_dir ../Market/pytorch \\
      --save report.html
    python tools/report.py --backbone osnet_x0_25 --weights osnet.pth  # a weight file without a run

The page is a single file that refers to nothing outside it: it can be mailed, and read offline, on
a phone or a dark screen. It contains small photographs of people unless --no_images is given. The
features are those that test.py wrote.
"""

from argparse import Namespace
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np

from person_reid.basics import UserError, printable, write_text
from person_reid.cli.flags import (
    add_rerank_flags,
    add_tested_network,
    given_flags,
    given_rerank_flags,
    rerank_options,
)
from person_reid.cli.parser import Parser
from person_reid.cli.tested import check_result_of, is_run, tested_network
from person_reid.cli.values import file_ending_in, whole
from person_reid.console.outputs import check_outputs
from person_reid.deploy.load import load_network
from person_reid.device import select_device
from person_reid.retrieval.metrics import remark_unmatched
from person_reid.retrieval.multi_query import read_multi_query
from person_reid.retrieval.rerank import rescorer
from person_reid.retrieval.results import (
    FLAGS,
    PLAIN,
    RESULT,
    load_result,
    multi_query_file,
    read_note,
)
from person_reid.run_folder import RunFolder
from person_reid.training.build import resolved


def main(argv: list[str] | None = None) -> None:
    """Measure, draw and write the page."""
    options = parse(argv)
    run = resolved(RunFolder(options.name).config()) if is_run(options) else None
    save = options.save or (RunFolder(options.name).report if run else Path("report.html"))
    check_outputs(options, [multi_query_file(options.result)], save=[save])
    query, gallery = load_result(options.result, paths=True)
    check_result_of(options)

    from person_reid.show import page, ranking, report  # matplotlib loads slowly

    remark_unmatched(query, gallery)
    multi_query = read_multi_query(options.result, query, options.multi_query)
    tested = report.measure(
        query,
        gallery,
        multi_query,
        None if options.no_rerank else rescorer(rerank_options(options)),
    )
    body = [report.metrics_section(tested)]
    if run and (history := RunFolder(options.name).history()):
        body.append(report.curves_section(history))
    body += [report.thresholds_section(tested), report.map_section(tested)]
    if not options.no_images:
        heat = None
        if not options.no_heatmaps:
            asked = tested_network(options)
            heat = report.heat_of(load_network(asked), asked.size, select_device(options.gpu_ids))
        words = (
            "Below each image: where the network's last feature map is strongest." if heat else ""
        )
        show = {"Rankings": report.spread(len(query), options.queries)} if options.queries else {}
        if options.worst:
            show["The worst rankings"] = ranking.chosen(query, gallery, worst=options.worst)
        body += [
            report.rankings_section(name, tested, which, options.test_dir, heat, words)
            for name, which in show.items()
        ]
    if run:
        body.append(
            page.details("Options of the run", page.table(["flag", "value"], asdict(run).items()))
        )
    name = getattr(options, "from") or options.backbone or options.name
    people = len(np.unique(query.labels))
    images = f"{len(query):,} queries of {people:,} people, {len(gallery):,} gallery images"
    flags = read_note(options.result, FLAGS)
    source = f"{options.result}{f' of test.py {flags}' if flags not in ('', PLAIN) else ''}"
    subtitle = f"{images} · {source} · {datetime.now():%Y-%m-%d %H:%M}"
    write_text(save, printable(page.page(name, subtitle, body)))
    print(f"The report is in {save} ({save.stat().st_size / 1e6:.1f} MB)")


def parse(argv: list[str] | None) -> Namespace:
    """Return the options. Raises UserError for flags that would be ignored."""
    parser = Parser(__doc__)
    files = parser.add_argument_group("files")
    files.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    files.add_argument(
        "--multi_query", type=Path, help="default: what test.py --multi wrote beside --result"
    )
    files.add_argument(
        "--test_dir", help="folder that holds query and gallery, if the images have moved"
    )
    page_file = file_ending_in(".html", ".htm")
    files.add_argument(
        "--save", type=page_file, help="page to write (default: model/NAME/report.html)"
    )
    page = parser.add_argument_group("what the page shows")
    page.add_argument(
        "--queries",
        type=whole,
        default=3,
        help="number of rankings, spread evenly over the queries",
    )
    page.add_argument(
        "--worst", type=whole, default=3, help="number of rankings with the lowest AP"
    )
    page.add_argument(
        "--no_images", action="store_true", help="leave out photographs: rankings and heat maps"
    )
    page.add_argument(
        "--no_heatmaps", action="store_true", help="leave out heat maps; needs no network"
    )
    page.add_argument("--no_rerank", action="store_true", help="leave out the re-ranked figures")
    add_tested_network(parser)
    add_rerank_flags(parser)
    options = parser.parse_args(argv)
    if options.no_rerank and (asked := given_rerank_flags(options)):
        raise UserError(f"--{', --'.join(asked)} would be ignored beside --no_rerank.")
    for flag in ("queries", "worst", "test_dir"):
        if options.no_images and getattr(options, flag) != parser.get_default(flag):
            raise UserError(f"--{flag} would be ignored beside --no_images: leave one of them out.")
    without = [flag for flag in ("no_images", "no_heatmaps") if getattr(options, flag)]
    if without and (given := given_flags(options, ("height", "width"))):
        raise UserError(
            f"{given} would be ignored beside --{without[0]}: heat maps "
            "alone need the size. Leave it out."
        )
    return options
