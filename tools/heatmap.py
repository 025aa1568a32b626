# PYTHON_ARGCOMPLETE_OK
"""Draw where a network responds: its last feature map's energy, on a ranking or any images.

    python tools/heatmap.py --name ft_ResNet50 --query_index 777
    python tools/heatmap.py --name ft_ResNet50 --query_index 0-5
    python tools/heatmap.py --name ft_ResNet50 --query_index 777 --top 8 --result market.mat
    python tools/heatmap.py --backbone osnet_x0_25 --weights osnet.pth a.jpg b.jpg

It works with any network: PCB's stripes are scaled separately, LightMBN gets a row for each branch,
transformers show their patch tokens. The gallery is ranked by the features that test.py wrote.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.forms import indices, numbers_in, picture_file
from person_reid.config.look import PaperLook, ShownFiles, ShownRanking
from person_reid.config.option import POSITIVE, Options, option, redeclared
from person_reid.config.tested import TrainedNetwork
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.deploy.find import check_result_of, tested_network
from person_reid.deploy.load import load_network

if TYPE_CHECKING:
    from person_reid.show.sheet import Tile


class HeatmapOptions(Options, title="what is drawn"):
    """The images to draw, and the picture's file."""

    images: tuple[str, ...] = option(
        (),
        "images to draw instead of a query and its ranking",
        metavar="IMAGE",
        several="*",
        positional=True,
    )
    query_index: str = option("0", "queries by index, from 0", form=indices, metavar="N,N-N")
    top: int = redeclared(ShownRanking, "top", 5)
    result: str = redeclared(ShownFiles, "result", "pytorch_result.mat")
    test_dir: str | None = redeclared(
        ShownFiles, "test_dir", None, flags=("--test_dir", "--data_dir")
    )
    batchsize: int = option(32, "images per batch", range=POSITIVE)
    save: str = option("heatmap.png", "picture to write", form=picture_file, metavar="FILE")


class HeatmapConfig(PaperLook, HeatmapOptions, TrainedNetwork):
    """All options of tools/heatmap.py."""

    def fault(self) -> str:
        """Return why the options conflict, or "" if they do not."""
        ignored = self.not_default(("query_index", "top", "result", "test_dir"))
        if self.images and ignored:
            return f"{', '.join(ignored)} would be ignored beside images: leave one of them out."
        return ""


def main(argv: list[str] | None = None) -> None:
    """Draw the heat maps."""
    config = parse(HeatmapConfig, argv, __doc__)
    check_outputs(config, save=[config.save])
    device = reid.select_device(config.gpu_ids)

    from person_reid.show import ranking  # matplotlib loads slowly
    from person_reid.show.heatmap import heat_rows
    from person_reid.show.sheet import Tile, draw_sheet, file_caption

    if config.images:
        sheets = [
            ([Tile(path, below=file_caption(path)) for path in map(Path, config.images)], "", "")
        ]
    else:
        query, gallery = reid.load_result(config.result, paths=True)
        images = ranking.paths_of_images(query, gallery, config.test_dir)
        check_outputs(config, images, save=[config.save])
        check_result_of(config.result, config)
        sheets = [ranked(query, gallery, i, config) for i in numbers_in(config.query_index)]

    tested = tested_network(config)
    network = load_network(tested)
    rows = []
    for tiles, title, subtitle in sheets:
        bank = reid.load_bank([str(tile.image) for tile in tiles], *tested.size)
        rows += heat_rows(network, tiles, bank, device, title, subtitle, config.batchsize)
    draw_sheet(rows, config.save, config.look)
    print(f"The picture is in {config.save}")


def ranked(
    query: reid.FeatureSet, gallery: reid.FeatureSet, index: int, config: HeatmapConfig
) -> "tuple[list[Tile], str, str]":
    """Return the photographs of a query and its ranking, and the row's title and subtitle."""
    from person_reid.show import ranking

    path, matches, total = ranking.look_up(
        query, gallery, index, config.top, test_dir=config.test_dir
    )
    title = f"Query {index}: {ranking.headline(query, index, config.test_dir)}"
    row = ranking.ranking_row(path, matches, title)
    tiles = [tile for tile in (row.lead, *row.tiles) if tile]
    return tiles, title, ranking.summary_of_matches(matches, total)


if __name__ == "__main__":
    run_script(main)
