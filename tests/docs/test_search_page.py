"""The commands of docs/search.md and docs/gallery.md do what they say, on a few small images."""

import re
import shutil
from pathlib import Path

import pytest

from benchmarks.support.people import write_people
from person_reid.config.search import GALLERY_COMMANDS, SEARCH_COMMANDS
from person_reid.errors import UserError
from tests.support import ROOT
from tests.support.dictionary_gallery import DictionaryGallery
from tests.support.flags import NETWORK
from tests.support.pages import commands
from tests.support.scripts import run
from tools import gallery

COMMANDS = [
    each
    for page in ("docs/search.md", "docs/gallery.md")
    for each in commands((ROOT / page).read_text(encoding="utf-8"))
    if each.script in ("tools/search.py", "tools/gallery.py")
]


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    """The files that the page names, and a run."""
    cwd = tmp_path_factory.mktemp("search")
    write_people(cwd / "people" / "train", people=8, images=4)
    flags = [*NETWORK, "--batchsize", "8"]
    flags += [
        "--data_dir",
        "people",
        "--name",
        "ft_ResNet50",
        "--total_epoch",
        "1",
        "--gpu_ids",
        "-1",
    ]
    run("train", *flags, cwd=cwd)
    images = sorted(cwd.glob("people/train/*/*.png"))
    for folder in ("crops", "more_crops", "crops_of_today", "pictures_of_today", "track_0017"):
        (cwd / folder).mkdir()
        for image in images[::3]:
            shutil.copy(image, cwd / folder)
    for name in ("someone.jpg", "anna1.jpg", "anna2.jpg", "crops/0007_c3.jpg"):
        shutil.copy(images[0], cwd / name)
    (cwd / "crops.csv").write_text(
        "path,identity,camera,time\ncrops/0007_c3.jpg,Anna,3,2026-10-01\n"
    )
    (cwd / "threshold.json").write_text('{"threshold": 0.5}')
    (cwd / "person.json").write_text('{"threshold": 0.5, "for": "person"}')
    words = ["--name", "ft_ResNet50", "--output", "osnet_market", "--threshold", "threshold.json"]
    run("save_pretrained", *words, cwd=cwd)
    return cwd


def test_the_pages_have_every_command():
    asked = {each.arguments[0] for each in COMMANDS}
    assert asked == {*SEARCH_COMMANDS, *GALLERY_COMMANDS}


def test_the_commands_of_the_pages_run_in_their_order(cwd):
    said = [run(Path(each.script).stem, *each.arguments, cwd=cwd) for each in COMMANDS]
    assert sum("images added" in text for text in said) == 7
    assert sum("1 image forgotten" in text for text in said) == 1
    assert sum("images forgotten" in text for text in said) == 4  # prune forgets none
    assert any(text.startswith("people.csv: ") for text in said)
    assert (cwd / "people.png").is_file()
    assert (cwd / "found.png").is_file()
    assert (cwd / "found.json").is_file()


def test_the_commands_that_are_about_a_file_refuse_another_engine(monkeypatch):
    page = " ".join((ROOT / "docs/several-machines.md").read_text(encoding="utf-8").split())
    named = re.search(r"except these: - (.+?) refer you to the server's tools", page)[1]
    monkeypatch.setattr(
        "person_reid.gallery.upkeep.open_gallery", lambda *_, **__: DictionaryGallery("x")
    )
    words = {"relocate": ["old", "new"], "backup": ["copy.index"], "reindex": ["--from", "other"]}
    for command in re.findall("`(.+?)`", named):
        with pytest.raises(UserError, match="not a file; use the tools of its engine"):
            gallery.main([command, *words.get(command, []), "--index", "memory://people"])
    assert len(re.findall("`(.+?)`", named)) == 3
