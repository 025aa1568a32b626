"""An installed program speaks of its own scripts and pages."""

import pytest

from person_reid.console import main
from person_reid.console.main import BEGINNINGS, COMMANDS, as_installed
from person_reid.files import shipped
from person_reid.text import as_command
from tests.support import ROOT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Next: python train.py --data_dir x", "Next: person-reid train --data_dir x"),
        ("python tools/search.py index FOLDER", "person-reid search index FOLDER"),
        ("tools/threshold.py writes it", "person-reid threshold writes it"),
        ("Write both with test.py --multi.", "Write both with person-reid test --multi."),
        ("my-test.py and latest.py", "my-test.py and latest.py"),
        ("no such log; train.py writes one", "no such log; person-reid train writes one"),
        ("python mine.py", "python mine.py"),
        (
            "torchrun --nproc_per_node 4 test.py --ms 1",
            "torchrun --nproc_per_node 4 -m person_reid test --ms 1",
        ),
        (
            "a\npython -m torch.distributed.launch train_DDP.py",
            "a\npython -m torch.distributed.launch -m person_reid train_DDP",
        ),
    ],
)
def test_scripts_are_called_by_their_commands(text, said):
    assert as_installed(text) == said


def test_a_message_names_the_command_that_its_reader_types(monkeypatch):
    assert as_command("tools/search.py") == "python tools/search.py"
    monkeypatch.setattr("sys.argv", ["person-reid test"])
    assert as_command("tools/search.py") == "person-reid search"


def test_every_command_is_known_as_a_script():
    assert all(as_installed(f"python {name}.py") == f"person-reid {name}" for name in COMMANDS)


def test_without_a_command_six_are_shown_to_begin_with(capsys):
    main.main([])
    printed = capsys.readouterr().out
    assert len(BEGINNINGS) == 6
    assert all(f"person-reid {command} " in printed for command in BEGINNINGS)
    assert {command.split()[0] for command in BEGINNINGS} <= COMMANDS.keys()


def test_a_recipe_of_the_package_is_found_and_a_file_of_ones_own_comes_first(here):
    assert shipped("recipes/demo.yaml") == ROOT / "recipes" / "demo.yaml"
    (here / "recipes").mkdir()
    (here / "recipes" / "demo.yaml").touch()
    assert shipped("recipes/demo.yaml").as_posix() == "recipes/demo.yaml"
