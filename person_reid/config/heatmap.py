"""The options of tools/heatmap.py."""

from person_reid.config.demo import ShownFiles, ShownRanking
from person_reid.config.forms import indices, picture_file
from person_reid.config.look import PaperLook
from person_reid.config.option import POSITIVE, Options, listed, option, redeclared
from person_reid.config.tested import TrainedNetwork


class HeatmapOptions(Options, title="what is drawn"):
    """Which images are drawn, and where the picture goes."""

    images: tuple[str, ...] = option(
        (),
        "images to draw instead of a query and its ranking",
        metavar="IMAGE",
        several="*",
        positional=True,
    )
    query_index: str = option("0", "queries by index, from 0", form=indices, metavar="N,N-N")
    top: int = redeclared(ShownRanking, "top", 5, range=POSITIVE)
    result: str = redeclared(ShownFiles, "result", "pytorch_result.mat")
    test_dir: str | None = redeclared(
        ShownFiles, "test_dir", None, flags=("--test_dir", "--data_dir")
    )
    batchsize: int = option(32, "images per batch", range=POSITIVE)
    save: str = option("heatmap.png", "picture to write", form=picture_file, metavar="FILE")


class HeatmapConfig(PaperLook, HeatmapOptions, TrainedNetwork):
    """All options of tools/heatmap.py."""

    def fault(self) -> str:
        """Return why the options do not go together, each as {name}; empty if they do."""
        ignored = self.not_default(("query_index", "top", "result", "test_dir"))
        if self.images and ignored:
            return f"{listed(ignored)} would be ignored beside images: leave one of them out."
        return ""
