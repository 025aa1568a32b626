"""What the service says of time: sightings, tracks, and the people of tools/across.py."""

import csv

import pytest

from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import Filter
from tests.serve.conftest import picture, sent
from tests.support.camera_tracks import STAYS, fill
from tools import across

THRESHOLD = 0.6


@pytest.fixture
def tracks(client, tmp_path):
    """The index of the service, with the tracks of two cameras."""
    index = SearchIndex(tmp_path / "people.index")
    for camera in STAYS:
        fill(index, tmp_path, camera)
    return index


def linked_by_command(index, *words):
    """What people.csv says of each track."""
    folder = index.path.parent / "people"
    flags = ["--index", index.path, "--save", folder, "--threshold", THRESHOLD, *words]
    across.main([str(word) for word in flags])
    with (folder / "people.csv").open(encoding="utf-8", newline="") as file:
        return {(row["source"], row["track"]): row for row in csv.DictReader(file)}


def test_the_people_across_cameras_are_those_of_the_command(client, tracks):
    after = "2026-11-01T09:30:05"
    rows = linked_by_command(tracks, "--after", after)
    asked = {"threshold": THRESHOLD, "after": after}
    found = client.post("/v1/across", params=asked).json()
    assert found["threshold"] == THRESHOLD
    assert len(found["tracks"]) == len(rows)
    for each in found["tracks"]:
        row = rows[each["source"], each["track"]]
        assert (str(each["person"]), each["camera"]) == (row["person"], row["camera"])
        assert f"{each['margin']:.4f}" == row["margin"]
        assert str(each["boxes"]) == row["boxes"]
    assert not any(about.identity for some in tracks.images() for _, about in some)


def test_a_track_that_can_be_nobody_else_has_no_margin(client, tracks):
    asked = {"threshold": THRESHOLD}
    for each in client.post("/v1/across", params=asked).json()["tracks"]:
        if (each["source"], each["track"]) != ("hall-1", "1"):
            tracks.forget(Filter(source=each["source"], track=each["track"]), "others")
    (only,) = client.post("/v1/across", params=asked).json()["tracks"]
    assert (only["track"], only["margin"], only["nearest"]) == ("1", None, None)
    assert linked_by_command(tracks)["hall-1", "1"]["margin"] == ""


def test_people_that_are_recorded_are_those_that_the_command_records(client, tracks):
    recorded = client.put("/v1/across", params={"threshold": THRESHOLD}).json()
    said = {(each["source"], each["track"]): each["identity"] for each in recorded["tracks"]}
    known = {
        (about.source, about.track): about.identity for some in tracks.images() for _, about in some
    }
    assert said == known
    linked_by_command(tracks, "--apply")
    again = {
        (about.source, about.track): about.identity for some in tracks.images() for _, about in some
    }
    assert again == known


def test_nobody_is_at_two_places_and_what_is_not_a_person_is_in_no_people(client, tracks):
    def name(track, identity):
        which = {"source": "hall-1", "track": track}
        return client.patch("/v1/images", params=which, json={"identity": identity})

    assert name("1", "Anna").status_code == 200
    refused = name("2", "Anna")
    assert refused.status_code == 409
    assert "hall track 1 and hall track 2 are at two places at once" in refused.json()["detail"]
    assert name("2", "-1").status_code == 200
    found = client.post("/v1/across", params={"threshold": THRESHOLD}).json()["tracks"]
    assert ("hall-1", "2") not in {(each["source"], each["track"]) for each in found}
    assert client.get("/v1/people").json() == {"people": ["Anna"]}
    rows = linked_by_command(tracks)
    assert {(e["source"], e["track"]): str(e["person"]) for e in found} == {
        key: row["person"] for key, row in rows.items()
    }


def test_a_rename_puts_nobody_at_two_places(client, tracks):
    for track, name in (("1", "Anna"), ("2", "Bob")):
        asked = {"source": "hall-1", "track": track}
        assert client.patch("/v1/images", params=asked, json={"identity": name}).json()["images"]
    renaming = {"identity": "Bob", "to": "Anna", "merge": True}
    refused = client.post("/v1/people/rename", json=renaming)
    assert refused.status_code == 409
    assert "hall track 1 and hall track 2 are at two places at once" in refused.json()["detail"]
    assert client.get("/v1/people").json() == {"people": ["Anna", "Bob"]}
    assert client.post("/v1/across", params={"threshold": THRESHOLD}).status_code == 200


def test_a_name_needs_no_tracks_but_those_of_its_person(client, tracks, tmp_path, monkeypatch):
    read = []
    entries = SearchIndex.entries

    def counted(index, which):
        read.append(which)
        return entries(index, which)

    monkeypatch.setattr(SearchIndex, "entries", counted)
    (tmp_path / "yard.txt").rename(tmp_path / "moved.txt")
    for track in ("1", "5"):
        asked = {"source": "hall-1", "track": track}
        answer = client.patch("/v1/images", params=asked, json={"identity": "Anna"})
        assert answer.json() == {"images": 3}
    assert {(which.source, which.track) for which in read} == {("hall-1", "1"), ("hall-1", "5")}


def test_a_track_that_is_named_stays_apart_from_others(client, tracks):
    together = client.post("/v1/across", params={"threshold": THRESHOLD}).json()["tracks"]
    who = {(each["source"], each["track"]): each["person"] for each in together}
    assert who["hall-1", "1"] == who["hall-1", "5"]
    for track, name in (("1", "Anna"), ("5", "Bob")):
        asked = {"source": "hall-1", "track": track}
        answer = client.patch("/v1/images", params=asked, json={"identity": name})
        assert answer.json() == {"images": 3}
    apart = client.post("/v1/across", params={"threshold": THRESHOLD}).json()["tracks"]
    who = {(each["source"], each["track"]): (each["identity"], each["given"]) for each in apart}
    assert who["hall-1", "1"] == ("Anna", True)
    assert who["hall-1", "5"] == ("Bob", True)


def test_the_tracks_come_in_pages_with_their_times_and_images(client, tracks):
    assert client.get("/v1/tracks").json()["next"] is None
    first = client.get("/v1/tracks", params={"limit": 4}).json()
    rest = client.get("/v1/tracks", params={"limit": 4, "start": first["next"]}).json()
    found = first["tracks"] + rest["tracks"]
    assert {(each["camera"], each["track"]) for each in found} == {
        (camera, str(track)) for camera, some in STAYS.items() for track in some
    }
    seven = next(each for each in found if each["track"] == "7")
    assert seven["time"] == "2026-11-01 09:30:19.900Z"[:11] + seven["time"][11:]
    assert round(seven["last"] - seven["first"], 6) == 3
    assert seven["boxes"] == 31
    paths = {path for some in tracks.images(Filter(track="7")) for path, _ in some}
    assert len(seven["images"]) == len(paths) == 3


def test_a_page_of_tracks_begins_behind_the_one_before_when_tracks_are_forgotten(client, tracks):
    def page(start=""):
        return client.get("/v1/tracks", params={"limit": 2, "start": start}).json()

    every = client.get("/v1/tracks").json()["tracks"]
    first = page()
    assert first["tracks"] == every[:2]
    gone = {name: every[0][name] for name in ("source", "track")}
    assert client.delete("/v1/images", params=gone).json()["images"]
    second = page(first["next"])
    assert second["tracks"] == every[2:4]
    for wrong in ("2", "x", f"{first['next']}x"):
        assert page(wrong)["status"] == 404


def test_a_client_gives_images_of_a_track_file_no_other_track(client, tracks):
    listed = client.get("/v1/tracks").json()
    (image, *_) = listed["tracks"][0]["images"]
    changed = {"track": "77"}
    for address in (f"/v1/images/{image}", f"/v1/images?source={listed['tracks'][0]['source']}"):
        answer = client.patch(address, json=changed)
        assert answer.status_code == 409
        assert "says the tracks" in answer.json()["detail"]
    assert client.get("/v1/tracks").json() == listed


def test_an_index_without_tracks_has_none(client):
    client.post("/v1/images", **sent(picture("red")))
    assert client.get("/v1/tracks").json() == {"tracks": [], "next": None}
    assert client.post("/v1/across").status_code == 422


def test_sightings_are_tracks_or_images_close_in_time(client):
    for second, camera, color in (
        (0, "1", 10), (50, "1", 20), (115, "1", 30), (20, "2", 40), (None, "2", 50),
    ):  # fmt: skip
        time = (
            {} if second is None else {"time": f"2026-11-01T08:{second // 60:02}:{second % 60:02}Z"}
        )
        asked = {"identity": "Anna", "camera": camera, **time}
        assert client.post("/v1/images", params=asked, **sent(picture((color, 0, 0)))).is_success
    for second in (0, 300):
        asked = {"identity": "Bob", "track": "4", "time": f"2026-11-01T08:0{second // 60}:00Z"}
        client.post("/v1/images", params=asked, **sent(picture((0, second // 2, 9))))

    anna = client.get("/v1/sightings", params={"identity": "Anna"}).json()["sightings"]
    start = anna[0]["first"]
    spans = [(each["camera"], each.get("first", start - 1) - start, each["count"]) for each in anna]
    assert spans == [("1", 0, 2), ("2", 20, 1), ("1", 115, 1), ("2", -1, 1)]
    assert anna[0]["last"] - start == 50
    assert len(anna[0]["images"]) == 2
    (bob,) = client.get("/v1/sightings", params={"identity": "Bob"}).json()["sightings"]
    assert bob["last"] - bob["first"] == 300
    assert bob["track"] == "4"
    assert client.get("/v1/sightings").status_code == 400


def test_images_like_one_of_the_gallery_are_those_that_its_feature_finds(client, tmp_path):
    for shade in (0, 40, 90, 200):
        client.post("/v1/images", params={"camera": "1"}, **sent(picture((shade, 30, 90))))
    index = SearchIndex(tmp_path / "people.index")
    ((images, features),) = index.entries()
    ids = [each["id"] for each in client.get("/v1/images").json()["images"]]
    (expected,) = index.search(features[2:3], 10)
    answer = client.get(f"/v1/images/{ids[2]}/similar", params={"k": 2, "threshold": -1}).json()
    found = [(each["id"], each["similarity"]) for each in answer["matches"]]
    paths = [path for path, _ in images]
    others = [each for each in expected if each.path != paths[2]][:2]
    assert found == [(ids[paths.index(each.path)], each.similarity) for each in others]
    assert answer["known"] is True
    asked = client.get(f"/v1/images/{ids[2]}/similar", params={"camera": "2"})
    assert asked.json()["matches"] == []


def test_cameras_are_listed(client):
    for camera in ("hall", "yard"):
        client.post(
            "/v1/images",
            params={"camera": camera},
            **sent(picture((camera == "hall" and "red") or "blue")),
        )
    assert client.get("/v1/cameras").json() == {"cameras": ["hall", "yard"]}
