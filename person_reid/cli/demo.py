"""Look at rankings: a query and the gallery images nearest to it, green for the right person, red for a wrong one.

    python demo.py --query_index 777
    python demo.py --query_index 777 --result market.mat --test_dir ../Market/pytorch --save ranking.pdf --top 20
    python demo.py --query_index 3,7,12                              # several, one below the other
    python demo.py --worst 5                                         # those of the lowest average precision
    python demo.py --camera 3 --save camera3.png                     # all of a camera, ten a sheet: camera3_01.png …
    python demo.py --query_index 777 --threshold threshold.json      # marks what python tools/threshold.py would reject

Reads the features that test.py wrote. Junk is left out, as it is of the metrics. Prints the rankings as text, too.
"""

from pathlib import Path

from person_reid.basics import UserError, progress
from person_reid.cli.parser import Parser
from person_reid.retrieval.results import RESULT, load_result
from person_reid.retrieval.thresholds import load_threshold

SHEET = 10  # queries; of more, further sheets
SHOWN = 777  # the query that is shown where nobody names one; the first, where there are fewer


def main(argv=None):
    parser = Parser(__doc__)
    which = parser.add_argument_group("which queries")
    which.add_argument("--query_index", type=numbers, metavar="N,N", help=f"these, from 0 (default: {SHOWN}, or 0)")
    which.add_argument("--worst", type=int, metavar="N", help="the queries of lowest average precision")
    which.add_argument("--camera", type=int, help="the queries of this camera; with --worst, the worst of them")
    files = parser.add_argument_group("files")
    files.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    files.add_argument("--test_dir", help="folder of query and gallery, if the images moved")
    files.add_argument("--save", type=Path, default=Path("show.png"), help="the picture")
    shown = parser.add_argument_group("ranking")
    shown.add_argument("--top", type=int, default=10, help="how many gallery images")
    shown.add_argument("--threshold", help="reject what is less similar: a number, or the file of tools/threshold.py")
    options = parser.parse_args(argv)
    if options.query_index and not (options.worst is None and options.camera is None):
        raise UserError("--query_index names the queries; leave out --worst and --camera, or leave it out.")
    options.threshold = -1.0 if options.threshold is None else load_threshold(options.threshold)
    query, gallery = load_result(options.result, paths=True)

    from person_reid.show import ranking  # matplotlib takes its time: not before the result is known to be good

    if options.worst is None and options.camera is None:
        options.query_index = options.query_index or [SHOWN if len(query) > SHOWN else 0]
    queries = ranking.chosen(query, gallery, options.query_index, options.worst, options.camera)
    rows = []
    for index, precision in queries.items():
        query_path, matches, total = ranking.look_up(
            query, gallery, index, options.top, options.threshold, options.test_dir
        )
        print("\n".join(ranking.describe_ranking(query, index, query_path, matches, total)))
        subtitle = ranking.summary(matches, total) + (
            "" if precision is None else f"; average precision {precision:.3f}"
        )
        title = f"Query {index}: {ranking.headline(query, index)}"
        rows.append(ranking.ranking_row(query_path, matches, title, subtitle))
    for number, start in enumerate(progress(range(0, len(rows), SHEET), desc="sheets"), 1):
        save = options.save if len(rows) <= SHEET else numbered(options.save, number, len(rows))
        ranking.draw_sheet(rows[start : start + SHEET], save)
        print(f"The picture is in {save}")


def numbered(save, number, rows):
    """show.png → show_01.png, with as many digits as the last of the sheets needs, two at least."""
    digits = max(2, len(str(-(-rows // SHEET))))
    return save.with_name(f"{save.stem}_{number:0{digits}d}{save.suffix}")


def numbers(text):
    """The whole numbers of a list such as 3,7,12."""
    return [int(part) for part in text.split(",")]
