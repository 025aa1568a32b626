"""Draw where a network looks: the energy of its last feature map over a query and its ranking, or
over any images.

    python tools/heatmap.py --name ft_ResNet50 --query_index 777
    python tools/heatmap.py --name ft_ResNet50 --query_index 0-5
    python tools/heatmap.py --name ft_ResNet50 --query_index 777 --top 8 --result market.mat \\
      --test_dir data
    python tools/heatmap.py --backbone osnet_x0_25 --weights osnet.pth a.jpg b.jpg \\
      --save heatmap.pdf

Works with any network: PCB's stripes are scaled one by one, MGN and LightMBN get a row for each
branch, transformers show their patch tokens. The features that rank the gallery are those that
test.py wrote.
"""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from person_reid.basics import UserError
from person_reid.cli.flags import add_tested_network
from person_reid.cli.outputs import check_outputs
from person_reid.cli.parser import Parser
from person_reid.cli.tested import check_result_of, tested_network
from person_reid.cli.values import indices, picture_file, positive
from person_reid.data.bank import load_bank
from person_reid.deploy.load import load_network
from person_reid.device import select_device
from person_reid.retrieval.results import RESULT, FeatureSet, load_result

if TYPE_CHECKING:
    from person_reid.show.sheet import Tile


def main(argv: list[str] | None = None) -> None:
    """Draw the heat maps."""
    parser = Parser(__doc__)
    parser.add_argument(
        "images",
        type=Path,
        nargs="*",
        metavar="IMAGE",
        help="images to draw instead of a query and its ranking",
    )
    parser.add_argument(
        "--query_index", type=indices, default=[0], metavar="N,N-N", help="queries by index, from 0"
    )
    parser.add_argument("--top", type=positive(int), default=5, help="number of gallery images")
    parser.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    parser.add_argument(
        "--test_dir", "--data_dir", help="folder of query and gallery, if the images have moved"
    )
    parser.add_argument("--batchsize", type=positive(int), default=32, help="images per batch")
    parser.add_argument(
        "--save", type=picture_file, default=Path("heatmap.png"), help="picture to write"
    )
    add_tested_network(parser)
    options = parser.parse_args(argv)
    for flag in ("query_index", "top", "result", "test_dir"):
        if options.images and getattr(options, flag) != parser.get_default(flag):
            raise UserError(f"--{flag} would be ignored beside images: leave one of them out.")
    check_outputs(options, save=[options.save])
    device = select_device(options.gpu_ids)

    from person_reid.show import ranking  # matplotlib loads slowly
    from person_reid.show.heatmap import heat_rows
    from person_reid.show.sheet import Tile, draw_sheet, file_caption

    if options.images:
        sheets = [([Tile(path, below=file_caption(path)) for path in options.images], "", "")]
    else:
        query, gallery = load_result(options.result, paths=True)
        check_outputs(
            options, ranking.images_of(query, gallery, options.test_dir), save=[options.save]
        )
        check_result_of(options)
        sheets = [ranked(query, gallery, index, options) for index in options.query_index]
    tested = tested_network(options)
    network, rows = load_network(tested), []
    for tiles, title, subtitle in sheets:
        bank = load_bank([str(tile.image) for tile in tiles], *tested.size)
        rows += heat_rows(network, tiles, bank, device, title, subtitle, options.batchsize)
    draw_sheet(rows, options.save)
    print(f"The picture is in {options.save}")


def ranked(
    query: FeatureSet, gallery: FeatureSet, index: int, options: Namespace
) -> "tuple[list[Tile], str, str]":
    """Return the photographs of a query and its ranking, with the title
    and the subtitle of their row.
    """
    from person_reid.show import ranking

    path, matches, total = ranking.look_up(
        query, gallery, index, options.top, test_dir=options.test_dir
    )
    title, subtitle = (
        f"Query {index}: {ranking.headline(query, index)}",
        ranking.summary(matches, total),
    )
    row = ranking.ranking_row(path, matches, title)
    return [tile for tile in (row.lead, *row.tiles) if tile], title, subtitle
