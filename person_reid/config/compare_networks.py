"""The options of tools/compare_networks.py."""

from person_reid.config.evaluate import EvaluationOptions
from person_reid.config.forms import file_ending_in, picture_file
from person_reid.config.look import Look, TableForm
from person_reid.config.option import listed, option, redeclared
from person_reid.config.run import DeviceOptions


class CompareNetworksConfig(Look, TableForm, DeviceOptions):
    """All options of tools/compare_networks.py."""

    networks: tuple[str, ...] = option(
        (),
        "runs, published names or files, each with flags of test.py",
        metavar="NETWORK",
        several="+",
    )
    test_dirs: tuple[str, ...] = option((), "layouts of prepare.py", metavar="DIR", several="+")
    results: tuple[str, ...] = option(
        (), "instead: files of test.py, each compared with the first", metavar="FILE", several="+"
    )
    bootstrap: int | None = redeclared(
        EvaluationOptions,
        "bootstrap",
        None,
        help="also compare each with the first, from N draws of identities (without N: 10000)",
    )
    gpu_ids: str = redeclared(
        DeviceOptions, "gpu_ids", "0", help="GPU for the accuracy; -1 for the CPU", common=False
    )
    json: str | None = option(
        None, "also write the figures to a file", form=file_ending_in(".json"), metavar="FILE"
    )
    save: str | None = option(
        None, "draw mAP against time, such as networks.png", form=picture_file, metavar="FILE"
    )

    def fault(self) -> str:
        """Return why the options do not go together, each as {name}; empty if they do."""
        ignored = self.not_default(("networks", "test_dirs", "gpu_ids", "save"))
        if self.results and ignored:
            return f"{listed(ignored)} would be ignored: {{results}} are compared as they are."
        if len(self.results) == 1:
            return "{results}: expected two files or more."
        if not self.results and not (self.networks and self.test_dirs):
            return "Expected {networks} and {test_dirs}, or {results}."
        return "" if self.save else self.ignored_without("save")
