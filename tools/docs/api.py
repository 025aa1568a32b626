"""Write docs/reference.md, the list of public names, from their signatures and docstrings.

python tools/docs/api.py
"""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import person_reid
from person_reid.config.option import Options
from person_reid.files import write_text
from person_reid.text import markdown_table

REFERENCE = ROOT / "docs" / "reference.md"
REFERENCE_HEAD = """# API

The public names of `person_reid`, with their arguments and the first lines of their docstrings.
`help(person_reid.evaluate)` shows a whole docstring. `**options` are fields with the names of
[options](options.md).
"""
# The chapters of the page: {package of the library: title}.
CHAPTERS = {
    "data": "Data",
    "models": "Networks",
    "losses": "Losses",
    "training": "Training",
    "retrieval": "Features, evaluation and re-ranking",
    "gallery": "Search",
    "deploy": "Trained networks",
    "video": "Videos",
    "synthetic": "Synthetic people",
    "config": "Options",
}
OTHER_NAMES = "Devices, processes, runs and errors"
GUIDES = ("api.md", "extending.md", "evaluation.md")
CODE = [re.compile(r"^```python$.*?^```$", re.M | re.S), re.compile(r"^ {4}.*|`[^`\n]+`", re.M)]
# The first line of a docstring, up to any argument that it describes.
SUMMARY = re.compile(r".+?(?=$|(?<=\.) \w+: )", re.M)
LONGEST_DEFAULT = 20  # characters


def main() -> None:
    """Write the page."""
    write_text(REFERENCE, page())


def page() -> str:
    """Return the page: a table for each chapter, with a row for each name."""
    rows: dict[str, list[list[str]]] = {title: [] for title in [*CHAPTERS.values(), OTHER_NAMES]}
    shown = examples()
    for name in sorted(person_reid.__all__, key=str.lower):
        public = getattr(person_reid, name)
        package = public.__module__.split(".")[1]
        summary = SUMMARY.match(public.__doc__ or "")
        example = next((link for link, words in shown if name in words), "")
        row = [f"`{name}{arguments(public)}`", summary[0] if summary else "", example]
        rows[CHAPTERS.get(package, OTHER_NAMES)].append(row)
    head = ["name", "what it is or does", "example"]
    chapters = [f"## {title}\n\n{markdown_table(head, own)}" for title, own in rows.items()]
    return "\n".join([REFERENCE_HEAD, *chapters])


def arguments(public: Any) -> str:
    """Return the arguments of a call, such as `(index, k=10)`, without their types.

    The result is empty for a class without its own arguments, such as a protocol.
    """
    if inspect.isclass(public):
        if issubclass(public, Options):
            return "(**options)"
        ours = str(getattr(public.__init__, "__module__", "")).startswith("person_reid")
        if not (ours or issubclass(public, tuple)):
            return ""
    signature = inspect.signature(public)
    shown = [
        each.replace(annotation=each.empty, default=Default(each.default))
        if each.default is not each.empty
        else each.replace(annotation=each.empty)
        for each in signature.parameters.values()
    ]
    return str(signature.replace(parameters=shown, return_annotation=signature.empty))


class Default:
    """A default value whose repr is short and the same on every system, for signatures."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        if inspect.isclass(self.value):
            return self.value.__name__
        text = repr(str(self.value) if isinstance(self.value, Path) else self.value)
        return "…" if text.startswith("<") or len(text) > LONGEST_DEFAULT else text


def examples() -> list[tuple[str, set[str]]]:
    """Return a link to each section of the guides, with the words in the section's code.

    Sections that use a name in blocks of Python precede sections that mention it in their text.
    """
    found = []
    for guide in GUIDES:
        text = (ROOT / "docs" / guide).read_text(encoding="utf-8")
        for code in CODE:
            for section in re.split(r"^## ", text, flags=re.M)[1:]:
                title = section.partition("\n")[0]
                anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
                words = re.findall(r"\w+", " ".join(code.findall(section)))
                found.append((f"[{title}]({guide}#{anchor})", set(words)))
    return found


if __name__ == "__main__":
    main()
