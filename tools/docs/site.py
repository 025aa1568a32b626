"""Hooks for mkdocs.yml: pages at their paths in the repository, and the API from docstrings.

`make site` builds the site. The pages keep their places in the repository, so a link between
README.md, docs/, recipes/ and benchmarks/ works on GitHub and on the site.
"""

import re
from pathlib import Path
from typing import Any

from griffe import Extension
from mkdocs.structure.files import File, Files
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parent.parent.parent

# The pages and their pictures; files to which they link are also published.
PUBLISHED = ("*.md", "docs/*.md", "docs/*.css", "docs/images/*", "benchmarks/*.md", "recipes/*.md")
LINK = re.compile(r"\]\(([^()\s#]+)")
LISTED_NAME = re.compile(r"^\| `(\w+)", re.M)
ITEM = re.compile(r"^(?=\*{0,2}\w+(?:, \*{0,2}\w+)*: )", re.M)
EXAMPLE = re.compile(r"(?:^>>> .*\n(?:^(?!$).*\n?)*)", re.M)


def on_config(config: Any) -> Any:
    """Name the anchors of headings as GitHub does, so that links to them work in both places."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: Any) -> Files:
    """Replace the files in docs/ with all published files, each at its path in the repository."""
    theirs = [file for file in files if file.src_dir != config.docs_dir]
    paths = {path for pattern in PUBLISHED for path in ROOT.glob(pattern)}
    for page in sorted(paths):
        if page.suffix == ".md":
            linked = LINK.findall(page.read_text(encoding="utf-8"))
            targets = {(page.parent / target).resolve() for target in linked}
            paths |= {path for path in targets if path.is_file()}
    ours = [
        File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
        for path in sorted(paths)
    ]
    return Files([*theirs, *ours])


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Render Markdown inside <details>, as GitHub does, and complete the reference."""
    if page.file.src_uri == "docs/reference.md":
        markdown = with_docstrings(markdown)
    return markdown.replace("<details>", '<details markdown="1">')


def with_docstrings(markdown: str) -> str:
    """Return the list of public names, with places where mkdocstrings inserts their docstrings.

    The docstrings of a chapter follow its table.
    """
    chapters = re.split(r"^(?=## )", markdown, flags=re.M)
    return "\n\n".join(
        "\n".join([chapter, *(f"::: person_reid.{name}" for name in LISTED_NAME.findall(chapter))])
        for chapter in chapters
    )


class Docstrings(Extension):
    """Turn plain docstrings into Markdown: `name: text` becomes an item, `>>>` an example."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of an object that griffe has read."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring as Markdown, with parameters as a list and examples as code."""
    text = EXAMPLE.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text)
    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    parts[::2] = [ITEM.sub("\n- ", part) for part in parts[::2]]
    return "".join(parts)
