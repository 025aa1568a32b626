"""Write docs/options.md, the page that lists all options, from their declarations.

python tools/docs/options.py
"""

import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from demo import DemoConfig
from person_reid.config import TrainConfig, search
from person_reid.config.adapt import AdaptConfig
from person_reid.config.evaluate import (
    EvaluateConfig,
    EvaluateGpuConfig,
    EvaluateRerankConfig,
    RerankOptions,
)
from person_reid.config.option import DeclaredOption, Options
from person_reid.config.people import VideosConfig
from person_reid.config.prepare import PrepareConfig
from person_reid.config.serve import ServeConfig
from person_reid.config.tested import TestConfig, TrainedNetwork
from person_reid.console.parser import help_of
from person_reid.files import write_text
from tools.ablation import AblationConfig
from tools.across import AcrossConfig
from tools.augmentations import AugmentationsConfig
from tools.compare import CompareConfig
from tools.compare_networks import CompareNetworksConfig
from tools.explore import ExploreConfig
from tools.export import ExportConfig
from tools.heatmap import HeatmapConfig
from tools.label_errors import LabelErrorsConfig
from tools.report import ReportConfig
from tools.reproduce import ReproduceConfig
from tools.save_pretrained import SavePretrainedConfig
from tools.threshold import ThresholdConfig

OPTIONS_PAGE = ROOT / "docs" / "options.md"
OPTIONS_HEAD = """# Options

Every option of every script. A plain `--help` shows the options in bold, or all of them where none
is bold; `--help all` shows what this page shows. The name of an option is its flag, its key in a
file for `--config` and in `opts.yaml`, and its name in Python. Options that several scripts share
are listed only in [the first section](#several-scripts).
"""
SHARED_HEAD = """## Several scripts

| option | default | what it does | in |
| --- | --- | --- | --- |"""
NETWORK = "Also the options of `test.py` that name a network."


class Section(NamedTuple):
    """The options of a script; those already listed are only mentioned in a remark."""

    script: str
    kind: type[Options]
    known: dict[str, DeclaredOption]
    remark: str = ""

    def options(self) -> list[DeclaredOption]:
        """Return the options to list."""
        every = self.kind.declared().values()
        return [each for each in every if each != self.known.get(each.name)]


def main() -> None:
    """Write the page."""
    write_text(OPTIONS_PAGE, page())


def page() -> str:
    """Return the page."""
    parts = sections()
    users: dict[str, list[str]] = {}
    for part in parts:
        for each in part.options():
            users.setdefault(row(each), []).append(part.script)
    shared = {line: scripts for line, scripts in users.items() if len(scripts) > 1}
    lines = [OPTIONS_HEAD, SHARED_HEAD]
    lines += [f"{line} {in_words(scripts)} |" for line, scripts in shared.items()]
    for part in parts:
        lines += ["", f"## {part.script}", ""]
        lines += [part.remark, ""] if part.remark else []
        lines += table([each for each in part.options() if row(each) not in shared])
    return "\n".join(lines) + "\n"


def sections() -> list[Section]:
    """Return the sections of the page, in order."""
    reranking, network = RerankOptions.declared(), TrainedNetwork.declared()
    of_test = TestConfig.declared()
    evaluate = "Also the options of `evaluate.py`, except those that choose the ranking."
    linking = f"{NETWORK[:-1]}, and those of `tools/across.py` that link."
    found = [
        Section("prepare.py", PrepareConfig, {}),
        Section("train.py", TrainConfig, {}),
        Section("tools/adapt.py", AdaptConfig, TrainConfig.declared(),
                "Also the options of `train.py` that make sense without labels."),
        Section("test.py", TestConfig, {}),
        Section("evaluate.py", EvaluateGpuConfig, {},
                "`evaluate_gpu.py` has the same options; only it has `--gpu_ids`."),
        Section("evaluate_rerank.py", EvaluateRerankConfig, EvaluateConfig.declared(), evaluate),
        Section("demo.py", DemoConfig, {}),
        Section("tools/threshold.py", ThresholdConfig, {}),
        Section("tools/explore.py", ExploreConfig, reranking,
                "Also the options of `evaluate_rerank.py` about re-ranking."),
        Section("tools/heatmap.py", HeatmapConfig, network, NETWORK),
        Section("tools/export.py", ExportConfig, network, NETWORK),
        Section("tools/save_pretrained.py", SavePretrainedConfig, network, NETWORK),
        Section("tools/compare.py", CompareConfig, network, NETWORK),
        Section("tools/label_errors.py", LabelErrorsConfig, network, NETWORK),
        Section("tools/report.py", ReportConfig, {**network, **reranking},
                f"{NETWORK[:-1]}, and those of `evaluate_rerank.py` about re-ranking."),
        Section("tools/compare_networks.py", CompareNetworksConfig, {}),
        Section("tools/augmentations.py", AugmentationsConfig, {}),
        Section("tools/reproduce.py", ReproduceConfig, {}, "Further flags go to `train.py`."),
        Section("tools/ablation.py", AblationConfig, {}, "Further flags go to `train.py`."),
    ]  # fmt: skip
    for script, commands in (
        ("search", search.SEARCH_COMMANDS),
        ("gallery", search.GALLERY_COMMANDS),
    ):
        for name, command in commands.items():
            remark = NETWORK if issubclass(command, search.NetworkOfIndex) else ""
            found.append(Section(f"tools/{script}.py {name}", command, of_test, remark))
    return [
        *found,
        Section("tools/serve.py", ServeConfig, of_test, NETWORK),
        Section("tools/across.py", AcrossConfig, {}),
        Section("tools/people.py", VideosConfig, {**of_test, **AcrossConfig.declared()}, linking),
    ]


def in_words(scripts: list[str]) -> str:
    """Return the names of scripts, each with its commands in brackets."""
    names: dict[str, list[str]] = {}
    for each in scripts:
        script, _, command = each.removeprefix("tools/").partition(" ")
        names.setdefault(script, []).extend([command] if command else [])
    return ", ".join(
        f"{script} ({', '.join(commands)})" if commands else script
        for script, commands in names.items()
    )


def table(options: list[DeclaredOption]) -> list[str]:
    """Return the lines of a table of options, with a title row for each of several groups."""
    groups: dict[str, list[DeclaredOption]] = {}
    for each in options:
        groups.setdefault(each.group, []).append(each)
    lines = ["| option | default | what it does |", "| --- | --- | --- |"] if options else []
    for title, members in groups.items():
        lines += [f"| *{title}* | | |"] if len(groups) > 1 else []
        lines += map(row, members)
    return lines


def row(each: DeclaredOption) -> str:
    """Return the table row for an option."""
    flag = (each.about.flags or (f"--{each.name}",))[0]
    if each.about.positional:
        flag = each.about.metavar or each.name
    name = f"**`{flag}`**" if each.about.common else f"`{flag}`"
    plain = each.default is None or each.default is False or each.default in ("", ())
    default = "" if plain else f"`{each.default}`"
    choices = f" One of {', '.join(map(str, each.about.choices))}." if each.about.choices else ""
    limits = f" A number {each.about.range.words}." if each.about.range else ""
    return f"| {name} | {default} | {help_of(each.about)}.{choices}{limits} |"


if __name__ == "__main__":
    main()
