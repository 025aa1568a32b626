"""The options of tools/report.py."""

from person_reid.config.demo import ShownFiles
from person_reid.config.evaluate import EvaluationOptions, RerankOptions
from person_reid.config.forms import file_ending_in
from person_reid.config.option import WHOLE, Options, listed, option, redeclared
from person_reid.config.tested import TrainedNetwork


class ReportFiles(Options, title="files"):
    """Which features are read, and which page is written."""

    result: str = redeclared(ShownFiles, "result", "pytorch_result.mat", common=True)
    multi_query: str | None = redeclared(EvaluationOptions, "multi_query", None)
    test_dir: str | None = redeclared(ShownFiles, "test_dir", None, common=True)
    save: str | None = option(
        None,
        "page to write (default: model/NAME/report.html)",
        form=file_ending_in(".html", ".htm"),
        metavar="FILE",
        common=True,
    )


class ReportContent(Options, title="what the page shows"):
    """The parts of the page."""

    queries: int = option(
        3, "number of rankings, spread evenly over the queries", range=WHOLE, common=True
    )
    worst: int = option(3, "number of rankings with the lowest AP", range=WHOLE, common=True)
    no_images: bool = option(False, "leave out photographs: rankings and heat maps", common=True)
    no_heatmaps: bool = option(False, "leave out heat maps; needs no network", common=True)
    no_rerank: bool = option(False, "leave out the re-ranked figures", common=True)


class ReportConfig(RerankOptions, TrainedNetwork, ReportContent, ReportFiles):
    """All options of tools/report.py."""

    def fault(self) -> str:
        """Return which options are about something that the page leaves out."""
        if self.no_rerank and (ignored := self.not_default(RerankOptions.declared())):
            return f"{listed(ignored)} would be ignored beside {{no_rerank}}: leave them out."
        if self.no_images and (ignored := self.not_default(("queries", "worst", "test_dir"))):
            return (
                f"{listed(ignored)} would be ignored beside {{no_images}}: leave one of them out."
            )
        if (self.no_images or self.no_heatmaps) and (
            ignored := self.not_default(("height", "width"))
        ):
            beside = "{no_images}" if self.no_images else "{no_heatmaps}"
            return (
                f"{listed(ignored)} would be ignored beside {beside}: "
                "heat maps alone need the size. Leave it out."
            )
        return ""
