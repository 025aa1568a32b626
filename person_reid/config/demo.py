"""The options of demo.py."""

from person_reid.config.forms import indices, numbers_in, picture_file
from person_reid.config.look import Look
from person_reid.config.option import Options, option

THRESHOLD = "a number, a file from tools/threshold.py, or a folder from save_pretrained"  # in words


class WhichQueries(Options, title="which queries"):
    """The queries to show."""

    query_index: str | None = option(
        None, "by index, from 0 (default: 777, or 0)", form=indices, metavar="N,N-N"
    )
    best: int | None = option(None, "the N queries with the highest average precision")
    worst: int | None = option(None, "the N queries with the lowest average precision")
    camera: int | None = option(
        None, "the queries of this camera; with --best or --worst, only the best or worst of them"
    )

    @property
    def indices(self) -> list[int] | None:
        """The numbers that query_index lists."""
        return None if self.query_index is None else numbers_in(self.query_index)

    def fault(self) -> str:
        """Return why the options conflict, or an empty string."""
        if self.query_index is not None and self.not_default(("best", "worst", "camera")):
            return "query_index already names the queries: drop best, worst and camera."
        return ""


class ShownFiles(Options, title="files"):
    """The features to read, and the picture to write."""

    result: str = option("pytorch_result.mat", "features written by test.py", metavar="FILE")
    test_dir: str | None = option(
        None, "folder that holds query and gallery, if the images have moved"
    )
    save: str = option("show.png", "picture to write", form=picture_file, metavar="FILE")


class ShownRanking(Options, title="ranking"):
    """The options of each ranking's picture."""

    top: int = option(10, "number of gallery images")
    missed: bool = option(False, "below each ranking, the right images that it misses")
    threshold: str | None = option(None, f"reject lower similarities: {THRESHOLD}")


class DemoConfig(Look, ShownRanking, ShownFiles, WhichQueries):
    """All options of demo.py."""
