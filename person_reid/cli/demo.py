"""Show rankings: a query and the gallery images nearest to it, green for the right person, red for a wrong one.

    python demo.py --query_index 777
    python demo.py --query_index 777 --result market.mat --test_dir ../Market/pytorch --save ranking.pdf --top 20
    python demo.py --query_index 3,7,12                              # several, one below the other; 0-5 is a range
    python demo.py --worst 5                                         # the queries with the lowest average precision
    python demo.py --camera 3 --save camera3.png                     # a whole camera, ten per sheet: camera3_01.png …
    python demo.py --query_index 777 --threshold threshold.json      # mark what tools/threshold.py would reject

Reads the features that test.py wrote and leaves junk out, as the metrics do. Prints the rankings as text, too.
"""

from pathlib import Path

from person_reid.basics import UserError, printable
from person_reid.cli.outputs import check_outputs
from person_reid.cli.parser import Parser
from person_reid.cli.values import THRESHOLD, indices, picture_file
from person_reid.progress import progress
from person_reid.retrieval.results import FLAGS, NETWORK, RESULT, load_result, read_notes
from person_reid.retrieval.thresholds import load_promise, load_threshold

SHEET = 10  # queries per sheet
SHOWN = 777  # the query shown by default; the first if there are fewer


def main(argv: list[str] | None = None) -> None:
    """Print and draw the rankings that the flags ask for."""
    parser = Parser(__doc__)
    which = parser.add_argument_group("which queries")
    which.add_argument(
        "--query_index", type=indices, metavar="N,N-N", help=f"by index, from 0 (default: {SHOWN}, or 0)"
    )
    which.add_argument("--worst", type=int, metavar="N", help="the N queries with the lowest average precision")
    which.add_argument("--camera", type=int, help="the queries of this camera; with --worst, only the worst of them")
    files = parser.add_argument_group("files")
    files.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    files.add_argument("--test_dir", help="folder that holds query and gallery, if the images have moved")
    files.add_argument("--save", type=picture_file, default=Path("show.png"), help="picture to write")
    shown = parser.add_argument_group("ranking")
    shown.add_argument("--top", type=int, default=10, help="number of gallery images")
    shown.add_argument("--threshold", help=f"reject lower similarities: {THRESHOLD}")
    options = parser.parse_args(argv)
    if options.query_index and not (options.worst is None and options.camera is None):
        raise UserError("--query_index already names the queries: leave out --worst and --camera.")
    check_outputs(options, save=[options.save])
    query, gallery = load_result(options.result, paths=True)
    notes = read_notes(options.result, NETWORK, FLAGS)
    threshold = -1.0 if options.threshold is None else load_threshold(options.threshold, *notes)

    from person_reid.show import ranking, sheet  # matplotlib loads slowly: only once the result is known to be good

    if options.worst is None and options.camera is None:
        options.query_index = options.query_index or [SHOWN if len(query) > SHOWN else 0]
    queries = ranking.chosen(query, gallery, options.query_index, options.worst, options.camera)
    sheets = sheet_names(options.save, len(queries))
    check_outputs(options, ranking.images_of(query, gallery, options.test_dir), save=sheets)
    if promise := load_promise(options.threshold):
        print(promise)
    rows = []
    for index, precision in queries.items():
        path, matches, total = ranking.look_up(query, gallery, index, options.top, threshold, options.test_dir)
        print(printable("\n".join(ranking.describe_ranking(query, index, path, matches, total))))
        subtitle = ranking.summary(matches, total)
        if precision is not None:
            subtitle += f"; average precision {precision:.3f}"
        title = f"Query {index}: {ranking.headline(query, index)}"
        rows.append(ranking.ranking_row(path, matches, title, subtitle))
    for number, save in enumerate(progress(sheets, desc="sheets")):
        sheet.draw_sheet(rows[number * SHEET : (number + 1) * SHEET], save)
        print(f"The picture is in {save}")


def sheet_names(save: Path, rows: int) -> list[Path]:
    """Return [show.png], or show_01.png, show_02.png, … if there are more queries than one sheet holds.

    The numbers have as many digits as the last one needs, at least two.
    """
    sheets = -(-rows // SHEET)
    digits = max(2, len(str(sheets)))
    names = (f"{save.stem}_{number:0{digits}d}{save.suffix}" for number in range(1, sheets + 1))
    return [save] if sheets == 1 else [save.with_name(name) for name in names]
