"""The options of tools/explore.py."""

from person_reid.config.demo import ShownFiles
from person_reid.config.evaluate import RerankOptions
from person_reid.config.forms import output_path
from person_reid.config.option import ANY, listed, option, redeclared
from person_reid.config.run import PluginOptions
from person_reid.config.zoo import PACKAGED_NETWORK


class ExploreOptions(PluginOptions, title="explorer"):
    """The contents of the page, and where it is written."""

    images: tuple[str, ...] = option(
        (),
        "images to show instead of a result, or folders of them at any depth",
        several="*",
        positional=True,
        metavar="IMAGE",
    )
    network: str = option(
        PACKAGED_NETWORK,
        "network that compares these images, as for compare_networks.py",
        needs={"images": ANY},
    )
    result: str | None = redeclared(
        ShownFiles, "result", None, help="features written by test.py (default: pytorch_result.mat)"
    )
    other: str | None = option(None, "features of another network, to compare with", metavar="FILE")
    index: str | None = option(
        None,
        "search index to show instead of a result, without queries and figures",
        metavar="FILE",
    )
    label_errors: str | None = option(
        None,
        "list from tools/label_errors.py, to accept or reject; its images are read from the .mat "
        "file beside it",
        metavar="FILE.csv",
    )
    test_dir: str | None = redeclared(ShownFiles, "test_dir", None)
    save: str = option("look", "folder to write, or one file: NAME.html", form=output_path)
    ignore_cameras: bool = option(
        False, "also count matches from the query's own camera; the page then shows no cameras"
    )
    rerank: bool = option(False, "also show the re-ranked result, to compare with")


class ExploreConfig(RerankOptions, ExploreOptions):
    """All options of tools/explore.py."""

    @property
    def has_queries(self) -> bool:
        """Whether a result with queries is shown."""
        return bool(self.result or not (self.images or self.index or self.label_errors))

    def fault(self) -> str:
        """Return why the options do not go together, each as {name}; empty if they do."""
        given = self.not_default(RerankOptions.declared())
        if given and not self.rerank:
            return f"{listed(given)} would be ignored without {{rerank}}."
        if self.index and (self.result or self.label_errors):
            return "{index} replaces {result} and {label_errors}: give one or the other."
        if self.images and (self.result or self.label_errors or self.index):
            return "Images replace {result}, {label_errors} and {index}: give one or the other."
        if not self.has_queries and (self.rerank or self.other or self.ignore_cameras):
            return (
                "{rerank}, {other} and {ignore_cameras} are about rankings of queries: "
                "give {result} FILE."
            )
        return ""
