"""The published networks: what the table says of them, and that their files are taken by name."""

import re
from collections import Counter

import model
from person_reid.config.network import NetworkOptions
from person_reid.config.option import configured
from person_reid.config.zoo import FAMILIES, listing, zoo
from person_reid.models.factory import check_network, input_size
from person_reid.models.registry import list_models
from tools.docs.networks import PAGE, PUBLISHED_MARKS, published_tables

NOT_HERE = "architecture not here yet"
# Networks of the table that no backbone can build yet, by family.
MISSING = {
    "fast-reid": 39, "TransReID": 12, "TransReID-SSL": 17, "PASS": 14, "CLIP-ReID CNN": 8,
    "CLIP-ReID ViT": 12, "SOLIDER": 9, "LUPerson": 4, "PersonViT": 8, "KPR": 10,
}  # fmt: skip
AVAILABLE = {name: entry for name, entry in zoo().items() if not entry.note}


def test_every_family_has_networks_and_every_network_a_family():
    assert {entry.family for entry in zoo().values()} == {*FAMILIES}


def test_networks_without_an_architecture_are_counted():
    notes = Counter(entry.family for entry in zoo().values() if entry.note)
    assert notes == MISSING
    assert {entry.note for entry in zoo().values()} == {"", NOT_HERE}


def test_the_options_of_a_published_network_describe_one_for_images_of_its_size():
    for name, entry in AVAILABLE.items():
        if not entry.exported:
            described = configured(NetworkOptions, entry.options)
            check_network(described)
            assert input_size(described) == entry.size, name


def test_what_a_row_says_has_its_form():
    for name, entry in zoo().items():
        assert re.fullmatch("[a-z0-9_]+", name) and entry.seen
        assert entry.where.startswith("https://"), name
        assert (entry.hub == "") or entry.file, name
        assert re.fullmatch("([0-9a-f]{64})?", entry.sha256), name
        assert all(0 < mean_ap < rank1 < 100 for rank1, mean_ap in entry.figures.values()), name


def test_file_names_in_the_folder_of_weights_belong_to_one_network_each():
    names = [name for entry in zoo().values() for name in entry.file_names]
    assert len(names) == len(set(names))


def test_the_list_names_every_published_network_once(capsys):
    model.main(["--published"])
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if "×" in line] == list_models(
        pretrained=True
    )
    assert list_models("osnet_ain*msmt17", pretrained=True) == ["osnet_ain_x1_0_msmt17"]
    assert listing("intel_0288").count("×") == 1
    assert listing("nothing") == "No published network is called nothing.\n"


def test_the_page_of_networks_holds_the_table():
    page = PAGE.read_text(encoding="utf-8")
    expected = f"{PUBLISHED_MARKS[0]}\n\n{published_tables()}\n{PUBLISHED_MARKS[1]}\n"
    assert expected in page, "python tools/docs/networks.py writes it again"
