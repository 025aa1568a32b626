"""The options of tools/threshold.py."""

from person_reid.config.forms import output_path, rates
from person_reid.config.look import Look
from person_reid.config.option import ANY, SHARE, WHOLE, Options, option
from person_reid.config.zoo import PACKAGED_NETWORK

COMPARED = ("pair", "person", "track")
RULE_NAMES = ("eer", "1e-3", "1e-4", "hardest")
BOUND = {"false_match_rate": ANY}


class ThresholdOptions(Options, title="threshold"):
    """The pairs to measure, the rule, and where the result goes."""

    result: str = option("pytorch_result.mat", "features written by test.py", metavar="FILE")
    test_dir: str | None = option(
        None, "folder that holds query and gallery, to measure instead of a result", metavar="DIR"
    )
    network: str = option(
        PACKAGED_NETWORK,
        "network to measure there, as for compare_networks.py",
        needs={"test_dir": ANY},
    )
    rule: str | None = option(
        None, "how the threshold is chosen (default: eer)", choices=RULE_NAMES
    )
    rates: str = option(
        "1e-3,1e-4", "false positive rates at which the TPR is printed", form=rates, metavar="R,R"
    )
    compared: str = option(
        "pair",
        "what is compared: two images, an image and a person (identify), two tracks (across.py)",
        choices=COMPARED,
        flags=("--for",),
    )
    camera_norm: bool = option(False, "give the features of every camera the same mean")
    ignore_cameras: bool = option(False, "also count pairs from the same camera")
    save: str = option("threshold", "name of the .json and .png to write", form=output_path)


class BoundOptions(Options, title="a threshold with a bound"):
    """How often strangers may be accepted, and with what confidence."""

    false_match_rate: float | None = option(
        None, "largest share of strangers accepted", range=SHARE, metavar="RATE"
    )
    confidence: float = option(0.95, "probability that the rate is kept", range=SHARE, needs=BOUND)
    gallery_size: int | None = option(
        None,
        "count searches among N images that accept a stranger, not pairs; without N, or for 0, "
        "among as many as were tested",
        range=WHOLE,
        bare=0,
        needs=BOUND,
    )


class ThresholdConfig(Look, BoundOptions, ThresholdOptions):
    """All options of tools/threshold.py."""

    def fault(self) -> str:
        """Return why the options conflict, spelling each as {name}; empty if they do not."""
        if self.test_dir and self.not_default(("result",)):
            return "{test_dir} replaces {result}: leave one out."
        if self.compared == "track" and self.camera_norm:
            return "{camera_norm} would be ignored: {compared} always levels the cameras."
        if self.rule and self.false_match_rate is not None:
            return "{rule} and {false_match_rate} both choose the threshold: leave one out."
        if self.compared != "pair" and self.false_match_rate is not None:
            return "{false_match_rate} is about images, not about {compared}: leave one out."
        return ""
