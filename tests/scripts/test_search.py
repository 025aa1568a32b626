import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import person_reid as reid
from person_reid.config.search import GALLERY_COMMANDS
from person_reid.deploy import find
from person_reid.deploy.embedder import Embedder
from person_reid.errors import UserError
from person_reid.gallery import indexing
from person_reid.gallery.indexed_network import known_network
from person_reid.gallery.metadata import About, Filter, Found
from person_reid.models.factory import create_model
from tests.deploy.test_load import save_run
from tests.support.flags import SAVED
from tools import gallery, search

pytestmark = pytest.mark.usefixtures("opened_once")


@pytest.fixture
def folder(here):
    """Twelve images in two folders, a stranger, and the weights of an untrained network."""
    random = np.random.default_rng(0)
    for number in range(12):
        place = here / ("first" if number < 8 else "second") / "deeper"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (64, 32, 3), np.uint8)).save(
            place / f"{number:02}.png"
        )
    Image.new("RGB", (32, 64), "red").save("stranger.png")
    for seed in (0, 1):
        network = create_model("test_resnet", weights="none", seed=seed)
        torch.save(network.model.state_dict(), f"net{seed or ''}.pth")
    return here


def said(capsys, command, *words):
    device = [] if command in ("people", "apply", "forget", "relocate") else ["--gpu_ids", "-1"]
    script = gallery if command in GALLERY_COMMANDS else search
    script.main([command, *map(str, words), "--index", "people.index", *device])
    lines = capsys.readouterr().out.splitlines(keepends=True)
    return "".join(line for line in lines if "tensors loaded" not in line)


@pytest.fixture
def indexed(folder, capsys):
    assert "8 images added, 0 were there already, 8 in all" in said(
        capsys, "index", "first", *SAVED
    )
    return folder


def test_machines_index_a_part_each(folder, capsys):
    for part, count in (("1/3", 3), ("2/3", 3), ("3/3", 2)):
        assert f"{count} images added" in said(capsys, "index", "first", "--part", part, *SAVED)
    assert "0 images added, 8 were there already" in said(capsys, "index", "first")
    for wrong in ("0/3", "4/3", "3", "a/b"):
        with pytest.raises(SystemExit):
            said(capsys, "index", "first", "--part", wrong)
    assert "expected I/N, such as 3/10" in capsys.readouterr().err


def test_images_are_added_once_and_the_network_is_remembered(indexed, capsys):
    assert "4 images added, 8 were there already, 12 in all" in said(
        capsys, "index", "first", "second"
    )
    assert "0 images added, 12 were there already" in said(
        capsys, "index", "first", "second", *SAVED
    )


def test_an_image_that_is_named_twice_counts_once(folder, capsys):
    words = ["first", "first/deeper", "first/deeper/../deeper/03.png"]
    assert "8 images added, 0 were there already, 8 in all" in said(capsys, "index", *words, *SAVED)
    assert (
        said(capsys, "query", "stranger.png", "stranger.png", "--top", "1").count("stranger.png")
        == 1
    )


def test_a_query_finds_its_image_and_a_stranger_is_nobody(indexed, capsys):
    words = ["query", "first/deeper/03.png", "stranger.png", "--top", "3", "--threshold", "0.9999"]
    output = said(capsys, *words, "--json", "found.json", "--save", "found.png").splitlines()
    assert output[0].endswith("03.png")
    assert output[1].startswith("  1.0000 ")
    assert output[1].endswith("03.png")
    assert output[4].endswith("stranger.png: nobody I know")
    assert "(too low)" in output[5]
    report = json.loads((indexed / "found.json").read_text())
    known, stranger = report["queries"]
    assert report["threshold"] == 0.9999
    assert known["known"]
    assert not stranger["known"]
    assert len(known["matches"]) == 3
    assert known["matches"][0]["similarity"] == pytest.approx(1)
    similarities = [match["similarity"] for match in known["matches"]]
    assert similarities == sorted(similarities, reverse=True)
    assert Image.open(indexed / "found.png").size[1] > 500


def test_a_folder_of_queries_is_judged_by_a_threshold_file(indexed, capsys):
    (indexed / "threshold.json").write_text('{"threshold": 0.5}')
    output = said(capsys, "query", "first", "--threshold", "threshold.json")
    assert output.count("1.0000 ") == 8
    assert "nobody" not in output
    promise = {"threshold": 0.5, "rate": 0.01, "confidence": 0.95, "people": 60, "gallery_size": 8}
    (indexed / "threshold.json").write_text(json.dumps({"threshold": 0.5, "promise": promise}))
    output = said(capsys, "query", "first", "--threshold", "threshold.json", "--json", "found.json")
    words = (
        "accepts at most 0.01 of searches among 8 images of strangers "
        "from other cameras (confidence 0.95, 60 people)"
    )
    assert f"threshold 0.5000 {words}\n" in output
    assert json.loads((indexed / "found.json").read_text())["promise"] == words


def test_without_a_threshold_nothing_is_known_and_nothing_refused(indexed, capsys):
    output = said(capsys, "query", "stranger.png", "--json", "found.json")
    assert "nobody" not in output
    assert "too low" not in output
    report = json.loads((indexed / "found.json").read_text())
    (query,) = report["queries"]
    assert query["known"] is None
    assert {match["accepted"] for match in query["matches"]} == {None}
    assert report["threshold"] is None
    assert report["threshold_from"] is None


def test_a_threshold_of_pairs_is_for_query_and_one_of_people_for_identify(indexed, capsys):
    said(capsys, "enroll", "Anna", "second/deeper/08.png")
    commands = {"pair": ["query", "first/deeper/00.png"], "person": ["identify", "stranger.png"]}
    for score in commands:
        written = json.dumps({"threshold": 1, "for": score})
        (indexed / f"{score}.json").write_text(written)
    for score, words in commands.items():
        for other in commands:
            asked = [*words, "--threshold", f"{other}.json", "--json", "found.json"]
            if other != score:
                with pytest.raises(UserError, match=rf"tools/threshold\.py --for {score}"):
                    said(capsys, *asked)
                continue
            said(capsys, *asked)
            report = json.loads((indexed / "found.json").read_text())
            assert report["threshold"] == 1
            assert report["score"] == score
            assert report["threshold_from"] == f"{score}.json"
    (stranger,) = report["queries"]
    assert stranger["known"] is False
    assert "identity" not in stranger
    assert stranger["nearest"] == "Anna"
    assert stranger["score"] < 1


def test_a_threshold_measured_on_another_network_is_remarked(indexed, capsys, caplog):
    for network, remarks in ((f"test_resnet {indexed.name}/net.pth", 0), ("ft_ResNet50 net_60", 1)):
        (indexed / "threshold.json").write_text(
            json.dumps({"threshold": 0.5, "measured_on": network})
        )
        said(capsys, "query", "stranger.png", "--threshold", "threshold.json")
        assert caplog.text.count("was measured on") == remarks


def test_another_network_is_refused_and_nothing_is_lost(indexed, capsys):
    other = [
        "--backbone",
        "test_resnet",
        "--weights",
        "net1.pth",
        "--height",
        "64",
        "--width",
        "32",
    ]
    with pytest.raises(UserError, match=r"made by another network \(test_resnet .*net\.pth\)"):
        said(capsys, "index", "second", *other)
    (indexed / "net.pth").write_bytes((indexed / "net1.pth").read_bytes())
    with pytest.raises(UserError, match="its weights have changed since"):
        said(capsys, "query", "stranger.png")


def test_another_network_takes_the_place_and_all_that_is_known_stays(indexed, capsys):
    Path("known.csv").write_text("path,identity,store\nfirst/deeper/03.png,Anna,north\n")
    said(capsys, "index", "first", "--about", "known.csv")
    other = [*SAVED, "--weights", "net1.pth"]
    with pytest.raises(UserError, match=r"all this network: python tools/gallery\.py reindex"):
        said(capsys, "index", "second", *other)
    printed = said(capsys, "reindex", *other)
    assert "people.index: 8 images with features of test_resnet" in printed
    assert "net1.pth" in printed
    assert not Path("people.index.next").exists()
    assert "4 images added" in said(capsys, "index", "second")
    said(capsys, "query", "stranger.png", "--where", "store=north", "--json", "found.json")
    (match,) = json.loads(Path("found.json").read_text(encoding="utf-8"))["queries"][0]["matches"]
    search.main(["index", "first", "second", "--index", "fresh.index", *other, "--gpu_ids", "-1"])
    search.main(
        ["query", "stranger.png", "--index", "fresh.index", "--json", "fresh.json", "--gpu_ids=-1"]
    )
    expected = json.loads(Path("fresh.json").read_text(encoding="utf-8"))["queries"][0]["matches"]
    (alike,) = (each for each in expected if each["image"] == match["image"])
    assert match == pytest.approx(alike | {"identity": "Anna", "store": "north"}, abs=1e-3)
    with pytest.raises(UserError, match="Name the network: name, weights, from_run or engine"):
        said(capsys, "reindex")


def test_flags_that_contradict_the_index_are_refused(indexed, capsys):
    for flags, words in (
        (["--no_flip"], r"no_flip \(remembered: off, asked: on\)"),
        ([*SAVED, "--width", "48"], r"width \(remembered: 32, asked: 48\)"),
        (["--engine", "net.onnx"], r"engine \(remembered: off, asked: .*net\.onnx\)"),
        (["--output", "logits"], r"feature_output \(remembered: off, asked: logits\)"),
    ):
        with pytest.raises(
            UserError, match=rf"people\.index: made with other flags: {words}\. Leave them out, or"
        ):
            said(capsys, "index", "second", *flags)
    (indexed / "net.pth").rename(indexed / "moved.pth")
    # It is the same network.
    assert "4 images added" in said(capsys, "index", "second", "--weights", "moved.pth")


def test_weights_that_moved_are_named_or_relocated(indexed, capsys):
    (indexed / "far").mkdir()
    (indexed / "net.pth").rename(indexed / "far" / "net.pth")
    lost = re.escape(f"its network is not at {indexed / 'net.pth'} any more. Name its place: ")
    with pytest.raises(UserError, match=rf"{lost}--weights PLACE, or once .* relocate OLD NEW"):
        said(capsys, "index", "first")
    with pytest.raises(UserError, match="its weights have changed since"):
        said(capsys, "index", "first", "--weights", "net1.pth")
    assert "0 images added" in said(capsys, "index", "first", "--weights", "far/net.pth")
    assert "0 images of" in said(capsys, "relocate", "net.pth", "far/net.pth")
    known = known_network(reid.SearchIndex("people.index"))
    assert Path(known.place) == indexed / "far" / "net.pth"


def test_a_run_is_refused_for_the_index_of_a_weight_file(indexed, capsys):
    save_run(backbone="test_resnet")
    with pytest.raises(
        UserError, match=r"made with other flags: name \(remembered: off, asked: run\)\. Leave"
    ):
        said(capsys, "index", "second", "--name", "run")


def test_an_index_without_flips_is_extended_without_flips(folder, capsys):
    said(capsys, "index", "first", *SAVED, "--no_flip")
    assert "4 images added" in said(capsys, "index", "second", "--no_flip")
    assert "12 were there already" in said(capsys, "index", "first", "second")


def test_imagenet_is_no_file(folder, capsys, monkeypatch):
    def opened(options, **settings):
        raise UserError(options.weights)

    monkeypatch.setattr(find, "open_embedder", opened)
    with pytest.raises(UserError, match="^imagenet$"):
        said(capsys, "index", "first", "--backbone", "test_resnet", "--weights", "imagenet")


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_names_that_are_not_text_are_found_and_printed(indexed, capsys):
    name = os.fsdecode(b"caf\xe9\x1b[2J$x$y.png")
    shutil.copy("stranger.png", indexed / "second" / name)
    said(capsys, "index", "second")
    output = said(
        capsys,
        "query",
        f"second/{name}",
        "--top",
        "2",
        "--save",
        "found.png",
        "--json",
        "found.json",
    )
    assert output.count("caf\ufffd\ufffd[2J$x$y.png") == 2
    assert "\x1b" not in output
    (found,) = json.loads((indexed / "found.json").read_text())["queries"]
    assert found["image"] == found["matches"][0]["image"] == str(indexed / "second" / name)


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_a_list_names_files_that_are_not_text_so_that_apply_finds_them(indexed, capsys):
    name = os.fsdecode(b"100%25 caf\xe9\x1b[2J.png")
    shutil.copy("stranger.png", indexed / "second" / name)
    said(capsys, "index", "second")
    said(capsys, "people")
    text = (indexed / "people.csv").read_text(encoding="utf-8")
    assert f"file://{indexed}/second/100%2525%20caf%E9%1B%5B2J.png," in text
    assert "\x1b" not in text
    assert "says of 13 of its 13 images" in said(capsys, "apply", "people.csv")


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_names_of_people_that_are_not_text_are_stored_and_asked_for_as_they_are_printed(
    indexed, capsys
):
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy("stranger.png", indexed / "second" / name)
    said(capsys, "index", "second", "--pattern", r"(?P<id>.+)\.png")
    assert (
        said(capsys, "query", "stranger.png", "--identity", name.removesuffix(".png")).count(
            "caf\ufffd"
        )
        > 1
    )
    said(capsys, "enroll", name, "first/deeper/00.png")
    assert "caf\ufffd.png" in said(capsys, "identify", "first/deeper/00.png")


def test_an_identical_image_reaches_the_threshold_1(indexed, capsys):
    output = said(capsys, "query", "first", "--top", "1", "--threshold", "1", "--save", "found.png")
    assert output.count("  1.0000 ") == 8
    assert "nobody" not in output
    assert "too low" not in output


def test_what_was_added_before_a_broken_image_stays(indexed, capsys, monkeypatch):
    monkeypatch.setattr(indexing, "FIRST_CHUNK", 2)
    (indexed / "second" / "deeper" / "10.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"10\.png"):
        said(capsys, "index", "second")
    assert "10 in all" in said(capsys, "index", "first")
    query = ["query", "first/deeper/00.png", "--top", "20", "--after", "2020-01-01"]
    assert said(capsys, *query).count("/second/") == 2  # and what is known of it


def test_a_forgotten_image_is_not_counted_among_those_that_are_there(indexed, capsys):
    said(capsys, "forget", "--image", "first/deeper/00.png")
    assert "0 images added, 7 were there already, 7 in all" in said(capsys, "index", "first")


def test_broken_images_are_listed_and_passed_over_when_asked(indexed, capsys, caplog):
    (indexed / "second" / "deeper" / "10.png").write_bytes(b"broken")
    output = said(capsys, "index", "first", "second", "--skip_unreadable")
    assert "3 images added, 8 were there already, 11 in all" in output
    assert "cannot be read: 1." in caplog.text
    assert "10.png: not an image" in caplog.text
    caplog.clear()  # and once more, when nothing else is new
    assert "0 images added, 11 were" in said(
        capsys, "index", "first", "second", "--skip_unreadable"
    )
    assert "cannot be read: 1." in caplog.text
    with pytest.raises(UserError, match="none of the images can be read, so it stays empty"):
        search.main(
            ["index", "second/deeper/10.png", "--index", "new.index", "--skip_unreadable", *SAVED]
        )


@pytest.mark.parametrize(("pause", "sizes"), [(0, [1, 2, 2, 2, 2]), (60, [1, 2, 4, 2])])
def test_chunks_grow_as_long_as_they_take_little_time(folder, capsys, monkeypatch, pause, sizes):
    monkeypatch.setattr(indexing, "FIRST_CHUNK", 2)
    monkeypatch.setattr(indexing, "LONGEST_CHUNK_SECONDS", pause)
    embed, found = Embedder.__call__, []

    def noting(self, images):
        found.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(Embedder, "__call__", noting)
    said(capsys, "index", "first", *SAVED)
    assert found == sizes  # the first is the probe of the network


def test_an_image_that_changes_while_it_is_embedded_is_read_again(indexed, capsys, monkeypatch):
    embed = Embedder.__call__

    def changing(self, images):
        features = embed(self, images)
        shutil.copy("stranger.png", "second/deeper/10.png")
        return features

    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "__call__", changing)
        said(capsys, "index", "second")
    assert "1 image added, 3 were there already" in said(capsys, "index", "second")
    assert said(capsys, "query", "stranger.png", "--top", "1").splitlines()[1].endswith("10.png")


def test_mistakes_are_named(folder, capsys):
    with pytest.raises(
        UserError, match=r"people\.index: no such index\. Make one: python tools/search\.py index"
    ):
        said(capsys, "query", "stranger.png")
    assert not (folder / "people.index").exists()
    with pytest.raises(UserError, match=r"save=stranger\.png: this command reads that file"):
        said(capsys, "query", "stranger.png", "--save", "stranger.png")
    with pytest.raises(UserError, match=r"absent: no such image or folder"):
        said(capsys, "index", "absent", *SAVED)
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no images in it"):
        said(capsys, "index", "empty", *SAVED)


@pytest.mark.parametrize(
    "words",
    [
        [*SAVED[:2], "--weights", "none.pth"],
        ["--backbone", "test_resnet5", *SAVED[2:]],
        ["--name", "no_such_run"],
        [*SAVED, "--about", "none.csv"],
        [*SAVED, "--pattern", "("],
    ],
    ids=str,
)
def test_an_index_that_was_refused_leaves_no_file(folder, capsys, words):
    with pytest.raises((UserError, OSError)):
        said(capsys, "index", "first", *words, "--codes", "sq8")
    (folder / "broken.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"broken\.png"):
        said(capsys, "index", "broken.png", *SAVED, "--codes", "sq8")
    assert not list(folder.glob("people.index*"))
    assert "8 images added" in said(capsys, "index", "first", *SAVED, "--codes", "float16")


def test_a_camera_whose_name_begins_with_a_dash_is_forgotten(indexed, capsys):
    (indexed / "about.csv").write_text("path,camera\nfirst/deeper/00.png,-gate\n")
    said(capsys, "index", "first", "--about", "about.csv")
    with pytest.raises(SystemExit):
        said(capsys, "forget", "--camera", "-gate")
    advice = "expected one argument. If -gate is its value: --camera=-gate"
    assert advice in capsys.readouterr().err
    assert "1 image forgotten" in said(capsys, "forget", "--camera=-gate")


def test_people_and_cameras_are_filled_in_asked_for_and_forgotten(indexed, capsys):
    lines = [
        f"first/deeper/{number:02}.png,{'Anna' if number < 2 else 'Ben'},{number % 3}"
        for number in range(4)
    ]
    (indexed / "about.csv").write_text("path,identity,camera\n" + "\n".join(lines))
    said(capsys, "index", "first", "--about", "about.csv")
    query = ["query", "first/deeper/00.png", "--json", "found.json"]
    output = said(capsys, *query, "--identity", "Anna").splitlines()
    assert len(output) == 4
    assert output[1].startswith("  1.0000 (identity Anna, camera 0) /")
    assert "01.png" in output[2]
    matches = json.loads((indexed / "found.json").read_text())["queries"][0]["matches"]
    assert matches[1]["identity"] == "Anna"
    assert matches[1]["camera"] == "1"
    assert matches[1]["time"] > "2026"
    assert "03.png" in said(
        capsys, *query, "--camera", "0", "--identity", "Ben", "--after", "2020-01-01"
    )
    first, *rest = said(capsys, *query, "--before", "2020-01-01").splitlines()
    assert first.endswith("00.png: no image passes the filters")
    assert ".png" not in "".join(rest[:-1])
    words = r"no image of a known person passes the filters\. No image has the camera 7\."
    with pytest.raises(UserError, match=words):
        said(capsys, "identify", "first/deeper/00.png", "--camera", "7")
    capsys.readouterr()
    assert (
        said(capsys, "forget", "--identity", "Anna") == "people.index: 2 images forgotten, 6 left\n"
    )
    assert (
        said(capsys, "forget", "--image", "first/deeper/02.png")
        == "people.index: 1 image forgotten, 5 left\n"
    )
    every = (
        "--image, --identity, --camera, --track, --source, --after, --before, --where or --expire"
    )
    with pytest.raises(UserError, match=f"say which images: {every}"):
        search.main(["forget", "--index", "people.index"])
    assert said(capsys, "forget", "--expire", "1w").startswith("people.index: 0 ")
    assert said(capsys, "forget", "--camera", "0", "--after", "2020-01-01").startswith(
        "people.index: 1 "
    )
    # They are indexed again if asked.
    assert "2 images added, 4 were there" not in said(capsys, "index", "first")
    with pytest.raises(UserError, match="say which images"):
        said(capsys, "forget")


def test_no_picture_replaces_an_indexed_image_that_is_no_answer(indexed, capsys):
    before = (indexed / "first" / "deeper" / "07.png").read_bytes()
    with pytest.raises(UserError, match=r"save=first/deeper/07\.png: this command reads that file"):
        said(capsys, "query", "first/deeper/00.png", "--top", "1", "--save", "first/deeper/07.png")
    # prepare.py makes such links.
    (indexed / "download.png").hardlink_to(indexed / "first" / "deeper" / "07.png")
    for command in (
        ["query", "first/deeper/00.png", "--save"],
        ["people", "--camera", "9", "--sheet"],
    ):
        with pytest.raises(
            UserError, match=rf"{command[-1][2:]}=download\.png: this command reads that file"
        ):
            said(capsys, *command, "download.png")
    assert (indexed / "first" / "deeper" / "07.png").read_bytes() == before
    assert (indexed / "download.png").read_bytes() == before


def test_a_filter_that_no_image_passes_is_explained(indexed, capsys):
    said(capsys, "enroll", "Anna", "second/deeper/08.png")
    assert "No image has the identity Ana. Did you mean 'Anna'?" in said(
        capsys, "forget", "--identity", "Ana"
    )
    with pytest.raises(UserError, match=r"has the identity Ana\. Did you mean 'Anna'\?"):
        said(capsys, "identify", "stranger.png", "--identity", "Ana")
    output = said(capsys, "query", "stranger.png", "--camera", "3")
    assert "no image passes the filters" in output
    assert "No image has the camera 3." in output
    described = indexed / "about.csv"
    described.write_text("path,camera\nfirst/deeper/00.png,1\nfirst/deeper/01.png,12\n")
    said(capsys, "index", "first", "--about", described)
    with pytest.raises(
        UserError, match=r"let through\. No image has the camera 3\. There are: 1, 12"
    ):
        said(capsys, "people", "--camera", "3")
    assert "No image has the camera 3. There are: 1, 12." in said(
        capsys, "query", "stranger.png", "--camera", "3"
    )
    assert "No image" not in said(capsys, "query", "stranger.png", "--camera", "12")
    assert "No image" not in said(capsys, "forget", "--expire", "1w")


def test_people_are_enrolled_and_identified(indexed, capsys):
    assert "2 images added" in said(
        capsys, "enroll", "Anna", "second/deeper/08.png", "second/deeper/09.png"
    )
    enrolled = next(reid.SearchIndex("people.index").images(Filter(identity="Anna")))
    assert {about.time for _, about in enrolled} == {None}  # so that --retain keeps them
    assert "0 images added, 1 were there" in said(capsys, "enroll", "Ben", "first/deeper/00.png")
    shutil.copy("second/deeper/09.png", "anna.png")
    asked = [
        "identify",
        "anna.png",
        "first/deeper/00.png",
        "--threshold",
        "0.9",
        "--json",
        "found.json",
    ]
    lines = said(capsys, *asked).splitlines()
    first, second = json.loads((indexed / "found.json").read_text())["queries"]
    assert first["images"] == [str(indexed / "anna.png")]
    assert first["known"]
    assert first["identity"] == "Anna"
    assert second["identity"] == "Ben"
    assert second["score"] == pytest.approx(1)
    assert second["second"] == "Anna"
    words = f"{indexed / 'anna.png'}: Anna {first['score']:.4f}, {first['margin']:.4f} ahead of Ben"
    assert lines == [words, lines[1], "Written: found.json"]
    low = said(capsys, *asked[:3], "--threshold", "1").splitlines()
    assert low == [lines[0].replace(": Anna", ": nobody I know (Anna") + ")", lines[1]]
    sure = ["--threshold", "0"]
    together = said(capsys, "identify", "second/deeper/08.png", "anna.png", "--together", *sure)
    assert together.startswith("2 images: Anna 1.0000, ")
    assert len(together.splitlines()) == 1
    assert said(capsys, "identify", "anna.png", "--identity", "Ben", *sure).startswith(
        f"{indexed / 'anna.png'}: Ben 0."
    )
    said(capsys, "enroll", "Ben", "second/deeper/08.png")  # it was Ben after all
    assert ": Ben 1.0000" in said(
        capsys, "identify", "second/deeper/08.png", "first/deeper/00.png", "--together", *sure
    )


def test_a_stranger_is_not_named_without_a_threshold(indexed, capsys):
    """Somebody is always the nearest."""
    said(capsys, "enroll", "Anna", "second/deeper/08.png")
    lines = said(capsys, "identify", "stranger.png", "--json", "found.json").splitlines()
    assert lines[0].startswith(f"{indexed / 'stranger.png'}: nearest is Anna 0.")
    assert "not an identification" in lines[1]
    assert "--threshold" in lines[1]
    answer = json.loads((indexed / "found.json").read_text())["queries"][0]
    assert answer["known"] is None
    assert answer["nearest"] == "Anna"
    assert "identity" not in answer


def test_an_index_that_got_no_image_takes_another_network(folder, capsys):
    (folder / "broken.png").write_text("no image")
    with pytest.raises(UserError, match="broken.png"):
        said(capsys, "index", "broken.png", *SAVED)
    other = [*SAVED[:3], "net1.pth", *SAVED[4:]]
    assert "8 images added" in said(capsys, "index", "first", *other)


def test_a_person_may_be_the_first_of_an_index(folder, capsys):
    assert "8 images added" in said(capsys, "enroll", "Anna", "first", *SAVED)
    assert (
        said(capsys, "identify", "first/deeper/00.png", "--threshold", "0")
        .rpartition(": ")[2]
        .startswith("Anna ")
    )
    said(capsys, "forget", "--identity", "Anna")
    with pytest.raises(UserError, match="nobody is known yet"):
        said(capsys, "identify", "first/deeper/00.png")


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_people_are_grouped_corrected_and_put_back(indexed, capsys):
    for number in range(6):
        for side in (1, 2):  # each image of the first folder many times: people
            name = indexed / "first" / f"{number}_{side}.png"
            pixels = np.asarray(Image.open(f"first/deeper/{number:02}.png")).astype(int)
            Image.fromarray(np.clip(pixels + side, 0, 255).astype(np.uint8)).save(name)
    said(capsys, "index", "first")
    (indexed / "about.csv").write_text("path,identity,camera,track\nfirst/deeper/00.png,Anna,3,7\n")
    assert (
        said(capsys, "apply", "about.csv")
        == "people.index: recorded what about.csv says of 1 of its 1 images\n"
    )
    output = said(
        capsys, "people", "--min_samples", "2", "--radius", "0.7", "--sheet", "people.png"
    )
    rows = rows_of(indexed / "people.csv")
    groups = {row["identity"] for row in rows} - {""}
    assert f"people.csv: {len(groups)} people on " in output
    assert " of 20 images" in output
    assert Image.open("people.png").size[1] > 300
    assert len(rows) == 20
    assert "Anna" in groups
    (anna,) = (row for row in rows if row["path"].endswith("deeper/00.png"))
    assert anna["identity"] == "Anna"
    assert anna["camera"] == "3"
    assert anna["track"] == "7"
    assert anna["time"] > "2026"
    said(capsys, "people", "--min_samples", "2", "--radius", "0.7")
    assert not (indexed / "people.previous.csv").exists()  # it said the same
    text = (indexed / "people.csv").read_text().replace("Anna", "Bea")
    (indexed / "people.csv").write_text(text)
    assert "people.previous.csv: the earlier list" in said(
        capsys, "people", "--min_samples", "2", "--radius", "0.7"
    )
    assert (indexed / "people.previous.csv").read_text() == text
    (indexed / "people.csv").write_text(text)
    assert "says of 20 of its 20 images" in said(capsys, "apply", "people.csv")
    assert "identity Bea, camera 3" in said(
        capsys, "query", "first/deeper/00.png", "--top", "1", "--track", "7"
    )
    named = sum(bool(row["identity"]) for row in rows)
    assert said(capsys, "query", "stranger.png", "--top", "20").count("identity ") == named
    (indexed / "people.csv").write_text(text.replace("Bea", ""))  # nobody, then
    said(capsys, "apply", "people.csv")
    assert "Bea" not in said(capsys, "query", "stranger.png", "--top", "20")
    with pytest.raises(UserError, match=r"none of its 1 images is in people\.index"):
        (indexed / "people.csv").write_text("path,identity\nother.png,Anna\n")
        said(capsys, "apply", "people.csv")
    with pytest.raises(UserError, match=r"expected the columns path,identity,.*track"):
        (indexed / "people.csv").write_text("path\nother.png\n")
        said(capsys, "apply", "people.csv")
    with pytest.raises(UserError, match=r"people\.index: no images of people in it, or none"):
        said(capsys, "people", "--camera", "9")


def test_a_sheet_shows_grey_for_an_image_that_has_been_deleted(indexed, capsys):
    for number in range(4):
        shutil.copy("stranger.png", indexed / "first" / f"{number}.png")
    said(capsys, "index", "first")
    for number in range(4):
        (indexed / "first" / f"{number}.png").unlink()
    said(capsys, "query", "stranger.png", "--top", "2", "--save", "found.png")
    said(capsys, "people", "--min_samples", "2", "--sheet", "people.png")
    for sheet in ("found.png", "people.png"):
        pixels = np.asarray(Image.open(sheet).convert("RGB"))
        assert (pixels == 128).all(axis=2).mean() > 0.05


def test_a_new_group_gets_no_name_of_somebody_outside_the_filter(folder, capsys):
    for number in range(6):
        shutil.copy("stranger.png", folder / "first" / f"c2_{number}.png")
    said(capsys, "index", "first", *SAVED, "--pattern", r"c(?P<camera>\d)_")
    (folder / "about.csv").write_text("path,identity\nfirst/deeper/00.png,person 0001\n")
    said(capsys, "apply", "about.csv")
    said(capsys, "people", "--camera", "2")
    assert {row["identity"] for row in rows_of(folder / "people.csv")} == {"person 0002"}


def test_what_is_not_a_person_is_in_no_group(indexed, capsys):
    """Its image stays marked, since a list changes only the images in it."""
    for number in range(6):
        shutil.copy("stranger.png", indexed / "first" / f"{number}.png")
    said(capsys, "index", "first")
    (indexed / "about.csv").write_text("path,identity\nfirst/0.png,-1\nfirst/1.png,-1\n")
    said(capsys, "apply", "about.csv")
    assert "2 people on 12 of 12 images" in said(capsys, "people", "--radius", "0.1")
    said(capsys, "apply", "people.csv")
    assert "2 images forgotten" in said(capsys, "forget", "--identity=-1")


@pytest.mark.skipif(os.name == "nt", reason="links need a permission there")
def test_a_list_that_is_a_link_stays_one(indexed, capsys):
    (indexed / "real.csv").write_text("corrected")
    (indexed / "people.csv").symlink_to("real.csv")
    said(capsys, "people")
    assert (indexed / "people.csv").is_symlink()
    assert len(rows_of(indexed / "real.csv")) == 8
    assert (indexed / "real.previous.csv").read_text() == "corrected"


def test_what_is_there_keeps_its_time_unless_a_list_gives_another(indexed, capsys, caplog):
    paths = [f"first/deeper/{number:02}.png" for number in (0, 1)]
    (indexed / "about.csv").write_text(
        "path,time\n" + "".join(f"{path},2026-09-01\n" for path in paths)
    )
    said(capsys, "index", "first", "--about", "about.csv")
    said(capsys, "enroll", "Anna", paths[0])
    said(capsys, "index", "first", "--pattern", r"(?P<camera>\d)\d")
    said(capsys, "people")
    times = {Path(row["path"]).name: row["time"] for row in rows_of(indexed / "people.csv")}
    assert times["00.png"] == times["01.png"] < times["02.png"]
    assert times["00.png"].startswith("2026-09-01 00:00:00")
    said(capsys, "index", "first", "--pattern", "no(?P<id>x)")
    assert "--pattern no(?P<id>x): matches none of the 8 images" in caplog.text


def test_an_index_of_a_run_says_where_it_has_to_be_searched(folder, capsys, monkeypatch):
    save_run(backbone="test_resnet")
    said(capsys, "index", "first", "--name", "run")
    with pytest.raises(UserError, match=r"other.opts\.yaml: no run of that name.* There are: run"):
        said(capsys, "index", "first", "--name", "other")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    with pytest.raises(
        UserError,
        match=r"its network is the run run, which is not in .*elsewhere\. Go to the folder",
    ):
        search.main(["query", "../stranger.png", "--index", "../people.index"])


def test_an_index_keeps_the_codes_that_it_was_made_with(folder, capsys):
    said(capsys, "index", "first", *SAVED, "--codes", "float32")
    assert "4 images added" in said(capsys, "index", "second")
    with pytest.raises(
        UserError, match=r"people\.index: its codes are float32, not pq64: leave codes out, or"
    ):
        said(capsys, "index", "second", "--codes", "pq64")


@pytest.mark.parametrize("name", ["anna", " Anna", "ANNA", "Änna", "An na", "Ａnna"])
def test_a_name_nearly_that_of_somebody_is_asked_about(indexed, capsys, name):
    said(capsys, "enroll", "Anna", "first/deeper/00.png")
    with pytest.raises(UserError, match=r"people\.index: knows 'Anna'\. .*: --another"):
        said(capsys, "enroll", name, "first/deeper/01.png")
    assert "identity" not in said(capsys, "query", "first/deeper/01.png", "--top", "1")
    said(capsys, "enroll", name, "first/deeper/01.png", "--another")
    for person in ("Anna", name, "Ann"):  # all are known by now, or differ by a letter
        said(capsys, "enroll", person, "first/deeper/02.png")


def test_enroll_says_who_an_image_was_before_and_apply_which_names_are_alike(indexed, capsys):
    said(capsys, "enroll", "Anna", "first/deeper/00.png")
    words = said(capsys, "enroll", "Ben", "first/deeper/00.png", "first/deeper/01.png")
    assert "1 image had the name Anna before\n" in words
    assert "Ben before" not in words
    (indexed / "about.csv").write_text("path,identity\nfirst/deeper/02.png,ben\n")
    assert "'ben' is nearly 'Ben': are they one person?" in said(capsys, "apply", "about.csv")


def test_images_of_several_tracks_are_several_people(indexed, capsys):
    lines = [f"first/deeper/{n:02}.png,{n},{'Anna' * (n == 0)}\n" for n in (0, 1)]
    (indexed / "about.csv").write_text("path,track,identity\n" + "".join(lines))
    said(capsys, "index", "first", "--about", "about.csv")
    crops = indexed / "hall"
    crops.mkdir()
    for track, frame, image in ((7, 1, 0), (7, 9, 2), (8, 1, 1)):
        shutil.copy(f"first/deeper/{image:02}.png", crops / f"{track:06}_{frame:06}.jpg")
    shutil.copy("stranger.png", crops / "stranger.png")
    asked = ["--together", "--threshold", "0", "--json", "found.json"]
    lines = said(capsys, "identify", crops, "first/deeper/01.png", *asked).splitlines()
    assert lines[0] == "3 tracks, each of one person, and other images of one person"
    assert lines[1].startswith(f"track 7 in {crops}, 2 images: Anna")
    answers = json.loads((indexed / "found.json").read_text())["queries"]
    assert [len(each["images"]) for each in answers] == [2, 1, 1, 1]
    assert [each.get("track") for each in answers] == [
        f"track 7 in {crops}",
        f"track 8 in {crops}",
        None,
        "track 1",
    ]


def test_cameras_get_one_mean_if_asked(indexed, capsys):
    lines = [f"first/deeper/{n:02}.png,{n % 2 + 1},{'Anna' * (n < 2)}\n" for n in range(8)]
    (indexed / "about.csv").write_text("path,camera,identity\n" + "".join(lines))
    with pytest.raises(UserError, match="needs the cameras of the images"):
        said(capsys, "query", "stranger.png", "--camera_norm")
    said(capsys, "index", "first", "--about", "about.csv")
    (indexed / "pair.json").write_text('{"threshold": 0.5, "camera_norm": true}')
    for words in (
        ["stranger.png", "--query_camera", "2"],
        ["first/deeper/03.png", "--camera_norm"],
    ):
        asked = ["query", *words, "--threshold", "pair.json", "--json", "found.json"]
        assert "Nobody knows" not in said(capsys, *asked)
        assert json.loads((indexed / "found.json").read_text())["camera_norm"] is True
    assert "1.0000 (camera 2)" in said(capsys, *asked).splitlines()[1]
    assert "which camera took 1 image" in said(capsys, "identify", "stranger.png", "--camera_norm")
    with pytest.raises(UserError, match=r"--for pair$"):
        said(capsys, "query", "stranger.png", "--threshold", "pair.json")


def test_only_who_resembles_somebody_gets_the_name(indexed, capsys):
    for number in range(8):
        shutil.copy("stranger.png", indexed / "first" / f"{number}.png")
    said(capsys, "index", "first")
    said(capsys, "enroll", "Anna", "first/0.png")
    group = ["people", "--min_samples", "2"]
    assert "Too few people are named" in said(capsys, *group)
    found = {Path(row["path"]).name: row["identity"] for row in rows_of(indexed / "people.csv")}
    assert found["0.png"] == "Anna"
    assert found["1.png"] == found["7.png"]
    assert found["1.png"].startswith("person ")
    said(capsys, *group, "--threshold", "0.9999")
    named = [row["path"] for row in rows_of(indexed / "people.csv") if row["identity"] == "Anna"]
    assert len(named) == 8
    assert all("deeper" not in path for path in named)


def test_an_index_made_in_python_is_of_one_network_and_searched_by_the_commands(folder, capsys):
    embed = reid.Embedder("test_resnet", "net.pth", size=(64, 32), device="cpu")
    paths = indexing.find_images(["first"])
    index = reid.SearchIndex("people.index", network=embed)
    index.add(paths, embed(paths))
    index.close()
    assert "1.0000 " in said(capsys, "query", paths[0], "--top", "1")
    assert "4 images added" in said(capsys, "index", "second")
    again = reid.SearchIndex("people.index", network=embed)
    np.testing.assert_allclose(reid.open_network(again)(paths[:1]), embed(paths[:1]), atol=1e-5)
    other = reid.Embedder("test_resnet", "net1.pth", size=(64, 32), device="cpu")
    with pytest.raises(UserError, match="its features were made by another network"):
        reid.SearchIndex("people.index", network=other)


def test_first_answers_from_the_querys_own_camera_are_remarked(capsys):
    """The query itself and others of its track do not count."""
    known = {
        Path(str(n)): About(camera=str(n % 2), track=str(n // 4), source="a") for n in range(8)
    }

    def ask(step):
        answers = []
        for n in range(8):  # itself, one of its track and camera, one of another track
            places = (Path(str(each)) for each in (n, n ^ 2, (n + step) % 8))
            answers.append([Found(each, 0.9, known[each]) for each in places])
        search.remark_own_camera(list(known), answers, known)
        return capsys.readouterr().out

    assert "8 of 8 first answers come from the query's own camera" in ask(4)
    assert not ask(5)


def test_where_one_camera_is_searched_no_first_answer_comes_from_another(folder, capsys):
    rows = [f"{path.relative_to(folder)},door" for path in sorted(folder.glob("first/**/*.png"))]
    (folder / "about.csv").write_text("\n".join(["path,camera", *rows]) + "\n")
    said(capsys, "index", "first", "--about", "about.csv", *SAVED)
    assert "own camera" not in said(capsys, "query", "first")
    (folder / "about.csv").write_text("path,camera\nstranger.png,till\n")
    said(capsys, "index", "stranger.png", "--about", "about.csv")
    assert "8 of 8 first answers come from the query's own camera" in said(capsys, "query", "first")
    assert "own camera" not in said(capsys, "query", "first", "--camera", "door")
