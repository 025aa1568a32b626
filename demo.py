"""Look at a ranking: a query and the gallery images nearest to it, green for the right person, red for a wrong one.

    python demo.py --query_index 777
    python demo.py --query_index 777 --result market.mat --test_dir ../Market/pytorch --save ranking.png --top 20
    python demo.py --query_index 777 --threshold threshold.json      # marks what python tools/threshold.py would reject

Reads the features that test.py wrote. Junk is left out, as it is of the metrics. Prints the ranking as text, too.
"""

import argparse
from pathlib import Path

from reid.retrieval.results import load_result
from reid.retrieval.thresholds import load_threshold
from utils import run_script


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--query_index", type=int, default=0, help="which query, from 0 (default: 0)")
    parser.add_argument("--test_dir", help="folder of query and gallery, if the images moved")
    parser.add_argument("--result", type=Path, default=Path("pytorch_result.mat"), help="features written by test.py")
    parser.add_argument("--save", type=Path, default=Path("show.png"), help="the picture (default: show.png)")
    parser.add_argument("--top", type=int, default=10, help="how many gallery images (default: 10)")
    parser.add_argument("--threshold", help="reject what is less similar: a number, or the file of tools/threshold.py")
    options = parser.parse_args(argv)
    threshold = -1.0 if options.threshold is None else load_threshold(options.threshold)
    query, gallery = load_result(options.result, paths=True)

    from reid.show import ranking  # matplotlib takes its time: not before the result is known to be good

    index = options.query_index
    matches, total = ranking.nearest(query, gallery, index, options.top, threshold)
    matches = ranking.located(matches, gallery, options.test_dir)
    query_path = ranking.find_image(ranking.paths_of(query, "query", options.test_dir)[index], options.test_dir)
    print("\n".join(ranking.describe_ranking(query, index, query_path, matches, total)))
    title = f"Query {index}: {ranking.headline(query, index)}"
    ranking.draw_ranking(query_path, matches, options.save, title, ranking.summary(matches, total))
    print(f"The picture is in {options.save}")


if __name__ == "__main__":
    run_script(main)
