"""What mkdocs.yml asks of this repository: its pages with their paths, and the API by docstrings.

`make site` builds the site. The pages keep their places in the repository, so a link between
README.md, docs/, recipes/ and benchmarks/ leads to the same place in both.
"""

import re
import sys
from pathlib import Path
from typing import Any

from griffe import Extension
from mkdocs.structure.files import File, Files
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import person_reid

# The pages, and the files that they link to.
PUBLISHED = (
    "*.md", "LICENSE", "docs/*.md", "docs/*.ipynb", "docs/*.jsonl", "docs/*.css", "docs/images/*",
    "benchmarks/*.md", "recipes/*.md", "recipes/**/*.yaml", "person_reid/losses/*.py",
)  # fmt: skip
REFERENCE = "docs/reference.md"
# The chapters of the reference: package of the library, title.
CHAPTERS = {
    "data": "Data",
    "models": "Networks",
    "losses": "Losses",
    "training": "Training",
    "retrieval": "Features, evaluation and re-ranking",
    "gallery": "Search",
    "deploy": "Trained networks",
    "config": "Options",
}
OTHER_PAGES = "Devices, processes and errors"
ITEM = re.compile(r"^(?=\*{0,2}\w+(?:, \*{0,2}\w+)*: )", re.M)
EXAMPLE = re.compile(r"(?:^>>> .*\n(?:^(?!$).*\n?)*)", re.M)


def on_config(config: Any) -> Any:
    """Name headings as GitHub does, so that links to them lead there in both."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: Any) -> Files:
    """Replace the files of docs/ by all that is published, each with its path in the repository."""
    theirs = [file for file in files if file.src_dir != config.docs_dir]
    paths = sorted({path for pattern in PUBLISHED for path in ROOT.glob(pattern)})
    ours = [
        File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
        for path in paths
    ]
    return Files([*theirs, *ours, File.generated(config, REFERENCE, content=reference())])


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let Markdown inside <details> be read, as GitHub does."""
    return markdown.replace("<details>", '<details markdown="1">')


def reference() -> str:
    """Return the page of all public names, which mkdocstrings fills in."""
    names: dict[str, list[str]] = {title: [] for title in [*CHAPTERS.values(), OTHER_PAGES]}
    for name in sorted(person_reid.__all__, key=str.lower):
        package = getattr(person_reid, name).__module__.split(".")[1]
        names[CHAPTERS.get(package, OTHER_PAGES)].append(name)
    head = (
        "# API\n\nThis page is for those who program with the library: every public name, as its "
        "docstring describes it. [From Python](api.md) shows how they work together.\n"
    )
    parts = [
        "\n".join([f"## {title}\n", *(f"::: person_reid.{name}" for name in own)])
        for title, own in names.items()
    ]
    return "\n\n".join([head, *parts]) + "\n"


class Docstrings(Extension):
    """Turn plain docstrings into Markdown: `name: what it is` is an item, `>>>` an example."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of an object that griffe has read."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring with its parameters as a list and its examples as code."""
    text = EXAMPLE.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text)
    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    parts[::2] = [ITEM.sub("\n- ", part) for part in parts[::2]]
    return "".join(parts)
