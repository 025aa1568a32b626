"""Blocks of code, commands, headings and links of a page of the documentation."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from person_reid.console.main import SCRIPTS
from tests.support import ROOT
from tools.docs.notebook import FENCED

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SHELLS = ("", "bash", "dockerfile", "ini")
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^()\s]+)\)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.M)
PROGRAM = re.compile(r"(?:.*[/\\])?python3?")
INSTALLED = re.compile(r"(?:.*/)?person-reid")
# What precedes a command in a unit of systemd and in a Dockerfile.
PREFIX = re.compile(r"^(?:ExecStart=|CMD (?=\[))", re.M)
LISTED_WORDS = re.compile(r"\[\".*\]", re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    line: of its first line of text, from 1. remark: what the HTML comment right above it says.
    """

    line: int
    language: str
    text: str
    remark: str


@dataclass(frozen=True)
class Command:
    """A command of a script of ours.

    line: where it begins, from 1. script: such as tools/export.py.
    """

    line: int
    script: str
    arguments: list[str]


def blocks(page):
    """The fenced blocks of a page's text, in order."""
    return [
        Block(
            line_of(page, match.start("text")),
            match["language"],
            match["text"],
            match["remark"] or "",
        )
        for match in FENCED.finditer(page)
    ]


def prose(page):
    """The page without its fenced blocks, of which only the line ends are left."""
    return FENCED.sub(lambda match: "\n" * match[0].count("\n"), page)


def line_of(page, position):
    """The number of the line, from 1, that a position of a text is in."""
    return page.count("\n", 0, position) + 1


def commands(page):
    """The Commands of a page: in blocks of a shell or of no language, and in `python …` in text."""
    found = [
        command for block in blocks(page) if block.language in SHELLS for command in in_block(block)
    ]
    text = prose(page)
    for match in INLINE.finditer(text):
        words = re.sub(r"[\[\]]", " ", match[1])  # what may be left out: [--result FILE]
        found += parts(words, line_of(text, match.start()))
    return found


def in_block(block):
    """The Commands of a block; a line that ends in \\ goes on in the next."""
    return [command for line, text in shell_lines(block) for command in parts(text, line)]


def shell_lines(block):
    """(number, text) of the lines of a block; a line that ends in \\ goes on in the next."""
    found = []
    for match in re.finditer(r"(?:[^\n]*\\\n)*[^\n]+", block.text):
        text = PREFIX.sub("", match[0].replace("\\\n", " "))
        if LISTED_WORDS.fullmatch(text):  # CMD ["person-reid", "serve"]
            text = " ".join(json.loads(text))
        found.append((block.line + block.text.count("\n", 0, match.start()), text))
    return found


def parts(line, number):
    """The Commands of one line of a shell, which && and ; may separate."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split, lexer.escape = True, ""  # so that \ of Windows and of patterns stays
    try:
        words = list(lexer)
    except ValueError:  # a lone quotation mark: no line of a shell
        return []
    found, rest = [], words
    while rest:
        end = next(
            (place for place, word in enumerate(rest) if re.fullmatch(r"[&;|]+", word)), len(rest)
        )
        into = rest.index(">") if ">" in rest[:end] else end
        command, rest = script_of(rest[:into]), rest[end + 1 :]
        found += [Command(number, *command)] if command else []
    return found


def script_of(words):
    """Return (script, arguments) of a command in words; None if it is not a script of Python."""
    while words and re.fullmatch(r"\w+=\S*", words[0]):  # OMP_NUM_THREADS=1
        words = words[1:]
    if len(words) > 1 and INSTALLED.fullmatch(words[0]) and words[1] in SCRIPTS:
        return Path(SCRIPTS[words[1]], f"{words[1]}.py").as_posix(), words[2:]
    if words[:2] == ["bash", "DDP.sh"]:
        return "train_DDP.py", words[2:]
    if len(words) > 1 and PROGRAM.fullmatch(words[0]) and words[1].endswith(".py"):
        return words[1], words[2:]
    if words[:1] == ["torchrun"] or words[1:3] in (
        ["-m", "torch.distributed.run"],
        ["-m", "torch.distributed.launch"],
    ):
        script = next((place for place, word in enumerate(words) if word.endswith(".py")), None)
        return (words[script], words[script + 1 :]) if script else None
    return None


def links(page):
    """(line, target) of every link and image of a page, without other sites."""
    text = INLINE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), prose(page))
    found = [(line_of(text, match.start()), match[1] or match[2]) for match in LINK.finditer(text)]
    return [(line, target) for line, target in found if not re.match(r"[a-z]+:", target)]


def anchors(page):
    """The names under which GitHub knows the headings of a page."""
    found: list[str] = []
    for heading in HEADING.findall(prose(page)):
        name = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", name).replace(" ", "-")
        same = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", other) is not None for other in found)
        found.append(f"{name}-{same}" if same else name)
    return found
