"""Write docs/options.md, the page of all options, from their declarations.

python tools/docs/options.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from person_reid.config import TrainConfig, search
from person_reid.config.across import AcrossConfig
from person_reid.config.adapt import AdaptConfig
from person_reid.config.compare import CompareConfig
from person_reid.config.compare_networks import CompareNetworksConfig
from person_reid.config.demo import DemoConfig
from person_reid.config.evaluate import (
    EvaluateConfig,
    EvaluateGpuConfig,
    EvaluateRerankConfig,
    RerankOptions,
)
from person_reid.config.explore import ExploreConfig
from person_reid.config.export import ExportConfig, SavePretrainedConfig
from person_reid.config.heatmap import HeatmapConfig
from person_reid.config.label_errors import LabelErrorsConfig
from person_reid.config.option import DeclaredOption, Options
from person_reid.config.people import VideosConfig
from person_reid.config.prepare import PrepareConfig
from person_reid.config.report import ReportConfig
from person_reid.config.serve import ServeConfig
from person_reid.config.tested import TestConfig, TrainedNetwork
from person_reid.config.threshold import ThresholdConfig
from person_reid.config.tools import AblationConfig, AugmentationsConfig, ReproduceConfig
from person_reid.files import write_text

OPTIONS_PAGE = ROOT / "docs" / "options.md"
OPTIONS_HEAD = """# Options

This page is for those who look up an option of a script. It is written from the declarations in
`person_reid/config/`, and `python train.py --help all` shows the same. A plain `--help` shows the
options in bold, or all of them where none is bold. The name of an option is its flag, its key in a
file for `--config` and in `opts.yaml`, and its name in Python.
"""


def main() -> None:
    """Write the page."""
    write_text(OPTIONS_PAGE, page())


def page() -> str:
    """Return the page."""
    parts = [OPTIONS_HEAD, *section("prepare.py", PrepareConfig, {})]
    parts += section("train.py", TrainConfig, {})
    without = "The options of `train.py` that mean something without labels, and these:"
    parts += section("tools/adapt.py", AdaptConfig, TrainConfig.declared(), without)
    parts += section("test.py", TestConfig, {})
    own = "`evaluate_gpu.py` has the same options; `--gpu_ids` is its own."
    parts += section("evaluate.py", EvaluateGpuConfig, {}, own)
    same = "The options of `evaluate.py` that do not choose the ranking, and these:"
    parts += section("evaluate_rerank.py", EvaluateRerankConfig, EvaluateConfig.declared(), same)
    parts += section("demo.py", DemoConfig, {})
    parts += section("tools/threshold.py", ThresholdConfig, {})
    reranked = "The options of `evaluate_rerank.py` about re-ranking, and these:"
    known = RerankOptions.declared()
    parts += section("tools/explore.py", ExploreConfig, known, reranked)
    named = "The options of `test.py` that name a network, and these:"
    trained = TrainedNetwork.declared()
    parts += section("tools/heatmap.py", HeatmapConfig, trained, named)
    parts += section("tools/export.py", ExportConfig, trained, named)
    parts += section("tools/save_pretrained.py", SavePretrainedConfig, trained, named)
    parts += section("tools/compare.py", CompareConfig, trained, named)
    parts += section("tools/label_errors.py", LabelErrorsConfig, trained, named)
    both = "The options of `test.py` that name a network, those about re-ranking, and these:"
    parts += section("tools/report.py", ReportConfig, {**trained, **known}, both)
    parts += section("tools/compare_networks.py", CompareNetworksConfig, {})
    parts += section("tools/augmentations.py", AugmentationsConfig, {})
    parts += section("tools/reproduce.py", ReproduceConfig, {}, "Further flags go to `train.py`.")
    parts += section("tools/ablation.py", AblationConfig, {}, "Further flags go to `train.py`.")
    for name, command in search.SEARCH_COMMANDS.items():
        remark = named if issubclass(command, search.NetworkOfIndex) else ""
        parts += section(f"tools/search.py {name}", command, TestConfig.declared(), remark)
    parts += section("tools/serve.py", ServeConfig, TestConfig.declared(), named)
    parts += section("tools/across.py", AcrossConfig, {})
    both = (
        "The options of `test.py` that name a network, the options of `tools/across.py` that link, "
        "and these:"
    )
    linking = {**TestConfig.declared(), **AcrossConfig.declared()}
    parts += section("tools/people.py", VideosConfig, linking, both)
    return "\n".join(parts)


def section(
    script: str, kind: type[Options], known: dict[str, DeclaredOption], remark: str = ""
) -> list[str]:
    """Return the lines about a script's options, a table for each group.

    known: options to leave out. remark: a sentence above the tables.
    """
    groups: dict[str, list[DeclaredOption]] = {}
    for each in kind.declared().values():
        if each != known.get(each.name):
            groups.setdefault(each.group, []).append(each)
    lines = [f"## {script}\n"]
    if remark:
        lines.append(f"{remark}\n")
    for title, members in groups.items():
        lines += [
            f"### {script}: {title}\n",
            "| option | default | what it does |",
            "| --- | --- | --- |",
        ]
        lines += [*map(row, members), ""]
    return lines


def row(each: DeclaredOption) -> str:
    """Return the row of an option."""
    flag = (each.about.flags or (f"--{each.name}",))[0]
    if each.about.positional:
        flag = each.about.metavar or each.name
    name = f"**`{flag}`**" if each.about.common else f"`{flag}`"
    plain = each.default is None or each.default is False or each.default in ("", ())
    default = "" if plain else f"`{each.default}`"
    choices = f" One of {', '.join(map(str, each.about.choices))}." if each.about.choices else ""
    limits = f" A number {each.about.range.words}." if each.about.range else ""
    return f"| {name} | {default} | {each.about.text}.{choices}{limits} |"


if __name__ == "__main__":
    main()
