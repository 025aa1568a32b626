"""Draw where a network looks: the energy of its last feature map over a query and its ranking, or over any images.

    python tools/heatmap.py --name ft_ResNet50 --query_index 777
    python tools/heatmap.py --name ft_ResNet50 --query_index 777 --top 8 --result market.mat --test_dir data
    python tools/heatmap.py --backbone osnet_x0_25 --weights osnet.pth a.jpg b.jpg --save heatmap.pdf

Works with any network: PCB's stripes are scaled one by one, MGN and LightMBN get a row for each branch, transformers
show their patch tokens. The features that rank the gallery are those that test.py wrote.
"""

from pathlib import Path

from person_reid.basics import UserError
from person_reid.cli.flags import add_tested_network
from person_reid.cli.outputs import check_outputs
from person_reid.cli.parser import Parser
from person_reid.cli.tested import check_result_of, tested_network
from person_reid.cli.values import picture_file, positive, whole
from person_reid.data.bank import load_bank
from person_reid.deploy.load import load_network
from person_reid.device import select_device
from person_reid.retrieval.results import RESULT, load_result


def main(argv: list[str] | None = None) -> None:
    """Draw the heat maps."""
    parser = Parser(__doc__)
    parser.add_argument(
        "images", type=Path, nargs="*", metavar="IMAGE", help="images to draw instead of a query and its ranking"
    )
    parser.add_argument("--query_index", type=whole, default=0, help="index of the query, from 0")
    parser.add_argument("--top", type=positive(int), default=5, help="number of gallery images")
    parser.add_argument("--result", type=Path, default=RESULT, help="features written by test.py")
    parser.add_argument("--test_dir", help="folder that holds query and gallery, if the images have moved")
    parser.add_argument("--save", type=picture_file, default=Path("heatmap.png"), help="picture to write")
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
        tiles = [Tile(path, below=file_caption(path)) for path in options.images]
        title, subtitle = "", ""
    else:
        query, gallery = load_result(options.result, paths=True)
        check_outputs(options, ranking.images_of(query, gallery, options.test_dir), save=[options.save])
        check_result_of(options)
        index = options.query_index
        path, matches, total = ranking.look_up(query, gallery, index, options.top, test_dir=options.test_dir)
        title, subtitle = f"Query {index}: {ranking.headline(query, index)}", ranking.summary(matches, total)
        row = ranking.ranking_row(path, matches, title)
        tiles = [tile for tile in (row.lead, *row.tiles) if tile]
    tested = tested_network(options)
    bank = load_bank([str(tile.image) for tile in tiles], *tested.size)
    draw_sheet(heat_rows(load_network(tested), tiles, bank, device, title, subtitle), options.save)
    print(f"The picture is in {options.save}")
