# PYTHON_ARGCOMPLETE_OK
"""Show rankings: a query and its most similar gallery images, green if right and red if wrong.

    python demo.py --query_index 777
    python demo.py --query_index 777 --result market.mat --test_dir ../Market/pytorch \\
      --save ranking.pdf --top 20
    python demo.py --query_index 3,7,12                          # several; 0-5 is a range
    python demo.py --worst 5                                     # the queries with the lowest AP
    python demo.py --camera 3 --save camera3.png                 # a camera, ten per sheet
    python demo.py --query_index 777 --threshold threshold.json  # mark rejected images

Reads the features that test.py wrote and skips junk, as the metrics do. Also prints the rankings as
text.
"""

from dataclasses import replace
from pathlib import Path

import person_reid as reid
from person_reid.config.forms import indices, numbers_in
from person_reid.config.look import Look, ShownFiles, ShownRanking, own_or
from person_reid.config.option import POSITIVE, Options, option
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_beside, check_outputs
from person_reid.progress import progress
from person_reid.retrieval.results import FEATURE_FLAGS, NETWORK, read_notes
from person_reid.text import printable

QUERIES_OF_SHEET = 10  # queries per sheet
USUAL_QUERY = 777  # the query shown by default; the first if there are fewer


class WhichQueries(Options, title="which queries"):
    """The queries to show."""

    query_index: str | None = option(
        None, "by index, from 0 (default: 777, or 0)", form=indices, metavar="N,N-N"
    )
    best: int | None = option(
        None, "the N queries with the highest average precision", range=POSITIVE
    )
    worst: int | None = option(
        None, "the N queries with the lowest average precision", range=POSITIVE
    )
    camera: int | None = option(
        None, "the queries of this camera; with --best or --worst, only the best or worst of them"
    )

    @property
    def indices(self) -> list[int] | None:
        """The query numbers listed in query_index."""
        return None if self.query_index is None else numbers_in(self.query_index)

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        if self.query_index is not None and self.not_default(("best", "worst", "camera")):
            return "query_index already names the queries: drop best, worst and camera."
        return ""


class DemoConfig(Look, ShownRanking, ShownFiles, WhichQueries):
    """All options of demo.py."""


def main(argv: list[str] | None = None) -> None:
    """Print and draw the requested rankings."""
    config = parse(DemoConfig, argv, __doc__)
    indices = config.indices
    check_outputs(config, save=[config.save])

    query, gallery = reid.load_result(config.result, paths=True)
    threshold = -1.0
    if config.threshold is not None:
        threshold = reid.load_threshold(
            config.threshold, *read_notes(config.result, NETWORK, FEATURE_FLAGS)
        )

    # matplotlib loads slowly: only once the result is known to be good
    from person_reid.show import ranking, sheet, style

    if indices is None and config.best is config.worst is config.camera is None:
        indices = [USUAL_QUERY if len(query) > USUAL_QUERY else 0]
    queries = ranking.chosen_queries(
        query, gallery, indices, config.worst, config.camera, config.best
    )
    names = own_or([f"Query {index}" for index in queries], config.labels)
    sheets = sheet_names(Path(config.save), len(queries))
    check_outputs(config, ranking.paths_of_images(query, gallery, config.test_dir), save=sheets)
    check_beside("save", *sheets)
    if bound := reid.load_bound(config.threshold):
        print(bound)

    rows = []
    for name, (index, precision) in zip(names, queries.items(), strict=True):
        path, matches, total = ranking.look_up(
            query, gallery, index, config.top, threshold, config.test_dir
        )
        missed = ranking.missed(query, gallery, index, config.top, threshold)
        summary = ranking.summary_of_matches(matches, total, missed)
        heading = f"query {index}: {ranking.headline(query, index, config.test_dir)}  {path}"
        print(printable("\n".join([heading, *ranking.match_lines(matches), summary])))
        if precision is not None:
            summary += f"; average precision {style.decimals(precision)}"
        title = (
            name if config.labels else f"{name}: {ranking.headline(query, index, config.test_dir)}"
        )
        rows.append([ranking.ranking_row(path, matches, title, summary)])
        if config.missed and missed:
            nearest = ranking.with_paths(missed[: config.top], gallery, config.test_dir)
            print(printable("\n".join(ranking.match_lines(nearest))))
            rows[-1].append(ranking.missed_row(nearest, len(missed)))

    for number, save in enumerate(progress(sheets, desc="sheets")):
        here = slice(number * QUERIES_OF_SHEET, (number + 1) * QUERIES_OF_SHEET)
        look = replace(config, labels=config.labels and ",".join(names[here]))
        sheet.draw_sheet([row for of_query in rows[here] for row in of_query], save, look)
        print(f"The picture is in {save}")


def sheet_names(save: Path, rows: int) -> list[Path]:
    """Return [show.png], or show_01.png, show_02.png, … for more queries than one sheet holds.

    The numbers have as many digits as the last one needs, at least two.
    """
    sheets = -(-rows // QUERIES_OF_SHEET)
    digits = max(2, len(str(sheets)))
    names = (f"{save.stem}_{number:0{digits}d}{save.suffix}" for number in range(1, sheets + 1))
    return [save] if sheets == 1 else [save.with_name(name) for name in names]


if __name__ == "__main__":
    run_script(main)
