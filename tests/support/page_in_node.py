"""The scripts of the explorer's page, run by Node.js without a browser."""

import json
import shutil
import subprocess

import pytest

from person_reid.page_files import page_sources

STATE = "({people: across.people, checked: [...across.checked].sort()})"


def run_page(content, *steps):
    """Return the state of the page after each step, and then the rows that it exports.

    content: what describe_stays returns. steps: JavaScript, with the page's functions.
    """
    said = [f"{step}; said.push(JSON.parse(JSON.stringify({STATE})));" for step in steps]
    lines = ["const said = [];", *said, "said.push(checkedRows());"]
    return evaluate("\n".join(lines), "said", content)


def evaluate(script, answer, content):
    """Return the value of an expression in a page with tracks once a script has run."""
    people = "across.people = DATA.tracks.tracks.map(({ person }) => person);"
    people += "across.names = { ...DATA.tracks.names };"
    lines = [f"DATA.tracks = {json.dumps(content)};", people, script]
    return run_scripts(("data", "elements", "tiles", "tracks"), lines, answer)


def run_scripts(names, lines, answer):
    """Return the value of an expression once scripts of the page, and then lines, have run."""
    if not shutil.which("node"):
        pytest.skip("no Node.js that could run the page's scripts")
    files = (page_sources("explorer")[f"{name}.js"] for name in names)
    whole = [
        "const document = { getElementById: () => ({}) }, localStorage = { setItem() {} };",
        *(file.read_text("utf-8") for file in files),
        *lines,
        f"console.log(JSON.stringify({answer}));",
    ]
    source = "\n".join(whole).replace('"use strict";', "")
    ended = subprocess.run(["node", "-"], input=source, capture_output=True, text=True)
    assert not ended.stderr
    return json.loads(ended.stdout)
