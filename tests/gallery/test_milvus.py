"""Milvus Lite, the server's embedded form, against an index of the same images."""

import csv
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from benchmarks.support.people import write_people
from person_reid.errors import UserError
from person_reid.gallery.gallery import open_gallery
from person_reid.gallery.metadata import EVERYTHING, FACT_NAMES, About, Filter
from person_reid.gallery.milvus import MilvusGallery
from person_reid.gallery.milvus_notes import MilvusNotes
from person_reid.gallery.milvus_server import LONGEST_TEXT_BYTES, MilvusServer
from person_reid.retrieval.similarity import unit_rows
from tests.support import ROOT
from tests.support.flags import SMALLEST
from tools import search

pymilvus = pytest.importorskip("pymilvus")
milvus_lite = pytest.importorskip("milvus_lite", reason="Milvus Lite stands in for a server")
milvus_lite_server = pytest.importorskip("milvus_lite.adapter.grpc.server")
grpc = pytest.importorskip("grpc")
pytestmark = pytest.mark.usefixtures("quick_milvus")

COUNT = 300
# The last is not UTF-8.
PATHS = [f'/crops/Anna\'s "{i}" schön_%.jpg' for i in range(COUNT - 1)] + ["/crops/\udcff.jpg"]
FILTERS = {
    "none": EVERYTHING,
    "a camera": Filter(camera="2"),
    "a period": Filter(after="2026-11-05 00:00:00", before="2026-11-09 00:00:00"),
    "a name with quotes": Filter(identity='O"Neil \\ Ünal'),
    "all who have a name": Filter(has_identity=True),
    "nobody": Filter(camera="2", source="nowhere"),
    "an image": Filter(image=os.fsencode(PATHS[-1])),
}


def known(i):
    """What is known of image i; of some of them, hardly anything."""
    who = ('O"Neil \\ Ünal', "Anna", "", None)[i % 4]
    return About(
        who,
        str(i % 3),
        f"2026-11-{i % 20 + 1:02d} 12:00:00Z" if i % 5 else None,
        None,
        "film" if i % 2 else None,
    )


@pytest.fixture(scope="module")
def features():
    return unit_rows(np.random.default_rng(0).standard_normal((COUNT, 16)).astype(np.float32))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return f"milvus://{tmp_path_factory.mktemp('milvus')}/people.db/people"


def filled(address, folder, features):
    """A gallery in Milvus, and an index with the same images."""
    index = open_gallery(str(folder / "people.index"), codes="float32")
    both = open_gallery(address), index
    for gallery in both:
        gallery.add(PATHS, features, {path: known(i) for i, path in enumerate(PATHS)})
    return both


@pytest.fixture(scope="module")
def pair(address, tmp_path_factory, features):
    """Two galleries with the same images, which no test changes."""
    both = filled(address, tmp_path_factory.mktemp("index"), features)
    yield both
    both[0].close()


@pytest.fixture
def own_pair(address, tmp_path, features):
    """Two galleries with the same images, for a test that changes them."""
    both = filled(f"{address}_{tmp_path.name.replace('-', '_')}", tmp_path, features)
    yield both
    both[0].close()


@pytest.fixture
def by_graph(monkeypatch):
    """Answers come from Milvus's graph, as those of a large gallery do."""
    monkeypatch.setattr("person_reid.gallery.milvus.MOST_ADMITTED", 0)


def assert_alike(pair, features, which):
    """Both galleries give the same answers, and hold the same."""
    queries = unit_rows(features[:3] + 0.1)
    found, expected = (gallery.search(queries, 7, among=which) for gallery in pair)
    assert [[(match.path, match.about) for match in row] for row in found] == [
        [(match.path, match.about) for match in row] for row in expected
    ]
    for row, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            [m.similarity for m in row], [m.similarity for m in right], atol=1e-5
        )
    found, expected = (
        {
            path: (about, tuple(row))
            for entries, rows in gallery.entries(which)
            for (path, about), row in zip(entries, rows, strict=True)
        }
        for gallery in pair
    )
    assert found == expected


@pytest.mark.parametrize("which", FILTERS.values(), ids=FILTERS)
def test_answers_and_entries_are_those_of_an_index(pair, features, which):
    assert_alike(pair, features, which)


def test_answers_stay_those_of_an_index_once_images_were_forgotten(own_pair, features):
    for gallery in own_pair:
        assert gallery.forget(Filter(image=os.fsencode(PATHS[1])), "image") == 1
        gallery.add(PATHS[1:2], features[1:2], {PATHS[1]: known(1)})
    own_pair[0].client.release_collection(own_pair[0].name)
    own_pair[0].client.load_collection(own_pair[0].name)  # with the graph that compaction built
    for which in FILTERS.values():
        assert_alike(own_pair, features, which)


def test_what_is_not_given_stays_and_what_changed_is_missing(own_pair, features, tmp_path):
    image = tmp_path / "new.jpg"
    image.write_bytes(b"new")
    for gallery in own_pair:
        # The other path is not a file, which counts as unchanged.
        assert gallery.missing([PATHS[0], image]) == [image]
        gallery.add([image], features[:1], {image: About("Anna", "7", track="5")})
        gallery.add([image], features[:1] + 0.001)
        assert gallery.search(features[:1], 1, among=Filter(track="5"))[0][0].about == About(
            "Anna", "7", track="5"
        )
        gallery.add([image], features[1:2])  # another picture
        assert gallery.search(features[1:2], 1, among=Filter(camera="7"))[0][0].about == About(
            camera="7"
        )
        gallery.add([image], features[1:2], {image: About("Berta")})
        assert gallery.describe({image: About(camera="8"), "no such": About("Cleo")}) == 1
        assert len(gallery) == COUNT + 1
        assert gallery.missing([image]) == []
        ((found,),) = gallery.search(features[1:2], 1, among=Filter(image=os.fsencode(image)))
        assert found.about == About("Berta", "8")
        assert found.similarity == pytest.approx(1, abs=1e-5)
        image.write_bytes(b"newer")
        assert gallery.missing([image]) == [image]
        assert gallery.forget(Filter(identity="Berta"), "identity") == 1
        assert len(gallery) == COUNT
        image.write_bytes(b"new")


def test_a_gallery_remembers_what_it_was_told_first_and_long_values(own_pair):
    probe = np.random.default_rng(0).random(12_288).tolist()
    for gallery in own_pair:
        assert gallery.recall("probe") is None
        assert gallery.remember({"probe": probe}) == {"probe": probe}
        assert gallery.remember({"probe": [1], "network": {"name": "x"}}) == {
            "probe": probe,
            "network": {"name": "x"},
        }


def test_features_of_another_network_and_wrong_addresses_are_refused(pair, features, address):
    for gallery in pair:
        with pytest.raises(UserError, match="width 16, not 8"):
            gallery.add(["a.jpg"], features[:1, :8])
        with pytest.raises(UserError, match="all zero"):
            gallery.search(features[:1] * 0, 1)
    with pytest.raises(UserError, match="no such index"):
        open_gallery(f"{address}_of_yesterday", new=False)
    with pytest.raises(UserError, match="expected milvus://HOST:PORT/NAME"):
        open_gallery("milvus://localhost:19530")


class Server(pymilvus.MilvusClient):  # type: ignore[name-defined,misc]
    """Milvus Lite as a server that holds float16, which it gives back as bytes."""

    folder = ""

    def __init__(self, uri, token):
        assert uri == "http://server:19530"
        self.created = {}
        super().__init__(f"{self.folder}/server.db")

    def create_collection(self, name, schema, index_params, **how):
        fields = {field.name: field for field in schema.fields}
        indexes = {index.field_name: index for index in index_params}
        self.created[name] = {name: field.dtype for name, field in fields.items()}, indexes, how
        fields["feature"]._dtype = pymilvus.DataType.FLOAT_VECTOR
        super().create_collection(name, schema=schema, index_params=index_params, **how)

    def describe_collection(self, name):
        told = super().describe_collection(name)
        for field in told["fields"]:
            field["type"] = self.created[name][0][field["name"]]
        return told

    def upsert(self, name, rows, **how):
        if name == "people":
            assert all(row["feature"].dtype == np.float16 for row in rows if "feature" in row)
            rows = [
                row | {"feature": row["feature"].astype(np.float32)} if "feature" in row else row
                for row in rows
            ]
        return super().upsert(name, rows, **how)

    def query(self, *given, **how):
        return [
            row | {"feature": [half(row["feature"])]} if "feature" in row else row
            for row in super().query(*given, **how)
        ]

    def search(self, name, data, **how):
        assert all(query.dtype == np.float16 for query in data)
        answers = super().search(name, [query.astype(np.float32) for query in data], **how)
        return [
            [
                {"entity": match["entity"] | {"feature": half(match["entity"]["feature"])}}
                for match in matches
            ]
            for matches in answers
        ]


def half(numbers):
    """Return numbers as a server sends them back."""
    return np.array(numbers, np.float16).tobytes()


def test_a_server_holds_float16_and_a_graph_of_bytes_and_answers_as_exactly_as_float16(
    tmp_path, monkeypatch, features, by_graph
):
    monkeypatch.setattr(Server, "folder", tmp_path)
    monkeypatch.setattr("pymilvus.MilvusClient", Server)
    gallery = MilvusGallery("milvus://server:19530/people")
    for _ in range(2):  # the second time, they are the same pictures
        gallery.add(PATHS, features, {path: known(i) for i, path in enumerate(PATHS)})
    kinds, indexes, how = gallery.client.created["people"]
    assert kinds["feature"] == pymilvus.DataType.FLOAT16_VECTOR
    assert {name: index.index_type for name, index in indexes.items()} == {
        "feature": "HNSW_SQ",
        **dict.fromkeys(FACT_NAMES, "INVERTED"),
    }
    assert how["num_shards"] == 5
    assert how["consistency_level"] == "Strong"
    queries = unit_rows(features[:3] + 0.1)
    exact = queries @ features.T
    for row, similarities in zip(gallery.search(queries, 7), exact, strict=True):
        nearest = np.argsort(-similarities)[:7]
        assert [str(match.path) for match in row] == [PATHS[i] for i in nearest]
        np.testing.assert_allclose(
            [match.similarity for match in row], similarities[nearest], atol=2**-11
        )
        assert [match.about for match in row] == [known(i) for i in nearest]
    assert gallery.search(queries[:1], 7, among=Filter(camera="nowhere")) == [[]]
    gallery.close()


def test_similarities_are_of_the_stored_features_once_the_graph_has_been_built(
    tmp_path, features, by_graph
):
    gallery = MilvusGallery(f"milvus://{tmp_path}/people.db/people")
    gallery.add(PATHS, features, {path: known(i) for i, path in enumerate(PATHS)})
    gallery.client.release_collection("people")  # else two threads build the graph
    gallery.client.flush("people")
    gallery.client.load_collection("people")  # with the graph, of which answers are rounded
    exact = features[:5] @ features.T
    for row, similarities in zip(gallery.search(features[:5], 3), exact, strict=True):
        found = [similarities[PATHS.index(str(match.path))] for match in row]
        np.testing.assert_allclose([match.similarity for match in row], found, atol=1e-6)
        assert found == sorted(found, reverse=True)
        assert found[0] == pytest.approx(1, abs=1e-6)
    index = gallery.client.describe_index("people", "feature")
    assert index["index_type"] == "HNSW_SQ"
    assert set(gallery.client.list_indexes("people")) == {"feature", *FACT_NAMES}
    gallery.close()


def test_a_collection_of_an_earlier_version_goes_on(tmp_path, features, caplog):
    gallery = MilvusGallery(f"milvus://{tmp_path}/people.db/people")
    schema = gallery.client.create_schema()
    for name in ("path", "state", *FACT_NAMES):
        how = {"is_primary": True} if name == "path" else {"nullable": name in FACT_NAMES}
        schema.add_field(name, pymilvus.DataType.VARCHAR, max_length=LONGEST_TEXT_BYTES, **how)
    schema.add_field("feature", pymilvus.DataType.FLOAT_VECTOR, dim=16)
    indexes = gallery.client.prepare_index_params()
    indexes.add_index("feature", index_type="AUTOINDEX", metric_type="IP")
    gallery.client.create_collection("people", schema=schema, index_params=indexes)
    gallery.client.upsert(
        "people", [{"path": "/a.jpg", "state": "", "feature": features[0].tolist()}]
    )
    gallery.add(["/b.jpg"], features[1:2], {"/b.jpg": About("Anna", "2")})
    assert gallery.describe({"/a.jpg": About("Berta", "1")}) == 1
    # An earlier version wrote times so.
    old = [{"path": "/a.jpg", "time": "2026-11-01 12:00:00"}]
    gallery.client.upsert("people", old, partial_update=True)
    gallery.describe({"/b.jpg": About(time="2026-11-01T13:00")})
    for which, there in {
        Filter(before="2026-11-01T12:30"): ["/a.jpg"],
        Filter(after="2026-11-01T12:30"): ["/b.jpg"],
        Filter(after="2026-11-01T12:00", before="2026-11-01T13:00:01"): ["/a.jpg", "/b.jpg"],
    }.items():
        assert [
            str(found.path) for found in gallery.search(features[:1], 2, among=which)[0]
        ] == there
    for camera, row in (("1", features[0]), ("2", features[1])):
        ((found,),) = gallery.search(features[:1], 2, among=Filter(camera=camera))
        assert found.similarity == pytest.approx(float(features[0] @ row), abs=1e-6)
    assert gallery.client.describe_index("people", "feature")["index_type"] == "AUTOINDEX"
    assert gallery.describe({"/a.jpg": About("Carla", more={"store": "3"})}) == 1
    assert "further columns are left out" in caplog.text
    assert gallery.recall("version") is None
    with pytest.raises(UserError, match="where: an earlier version made this gallery"):
        gallery.search(features[:1], 2, among=Filter(where={"store": "3"}))
    assert gallery.forget(Filter(identity="Carla"), "identity") == 1
    assert len(gallery) == 1
    gallery.close()


def test_a_collection_of_a_later_version_is_refused(tmp_path):
    gallery = MilvusGallery(f"milvus://{tmp_path}/people.db/people")
    gallery.remember({"version": 99})
    gallery.close()
    with pytest.raises(
        UserError, match=r"people: of version 99; this .* up to 2\. Update it: python"
    ):
        MilvusGallery(gallery.path)


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("MILVUS_TOKEN", "anna:secret")


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("milvus://localhost:1/people", "http://localhost:1"),
        ("milvus://[::1]:1/people", "http://[::1]:1"),
        ("milvus+tls://far.example:1/people", "https://far.example:1"),
        ("milvus+insecure://far.example:1/people", "http://far.example:1"),
    ],
)
def test_a_token_travels_encrypted_or_on_this_machine_or_as_asked(token, monkeypatch, address, uri):
    asked: dict[str, object] = {}
    monkeypatch.setattr(
        "pymilvus.MilvusClient", lambda place, **more: asked.update(more, uri=place)
    )
    MilvusServer(address)
    secure = {"secure": True} if "tls" in address else {}
    assert asked == {"uri": uri, "token": "anna:secret", **secure}


@pytest.mark.parametrize("host", ["far.example:1", "10.0.0.1:1", "localhost.example:1"])
def test_a_token_does_not_travel_in_the_clear(token, host):
    with pytest.raises(UserError, match=rf"milvus\+tls://{host}/people.*milvus\+insecure://{host}"):
        open_gallery(f"milvus://{host}/people")


def test_an_address_holds_no_password_and_a_certificate_is_a_file(monkeypatch):
    with pytest.raises(UserError, match="MILVUS_TOKEN=USER:PASSWORD") as error:
        open_gallery("milvus://anna:secret@localhost:1/people")
    assert "secret" not in str(error.value)
    monkeypatch.setenv("MILVUS_CERTIFICATE", "none.pem")
    with pytest.raises(UserError, match=r"MILVUS_CERTIFICATE=none\.pem: no such file"):
        open_gallery("milvus+tls://localhost:1/people")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_a_server_with_tls_and_a_token_is_reached(token, tmp_path, monkeypatch, features):
    """Milvus Lite, whose own server listens in the clear alone, behind a port with TLS."""
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem "
    words += "-out cert.pem -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    key, certificate = ((tmp_path / name).read_bytes() for name in ("key.pem", "cert.pem"))
    database = milvus_lite.MilvusLite(str(tmp_path / "people.db"))
    server = milvus_lite_server._build_server(database, 4)
    credentials = grpc.ssl_server_credentials([(key, certificate)])
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    monkeypatch.setenv("MILVUS_CERTIFICATE", str(tmp_path / "cert.pem"))
    gallery = MilvusGallery(f"milvus+tls://localhost:{port}/people")
    gallery.server.served = False  # Milvus Lite has no float16
    gallery.add(PATHS[:3], features[:3])
    assert len(gallery) == 3
    assert gallery.remember({"a": 1}) == {"a": 1}
    gallery.close()
    server.stop(0)
    database.close()


def test_a_second_process_finds_what_the_first_has_made(tmp_path, features):
    """Milvus Lite releases collections when a process ends."""
    address = f"milvus://{tmp_path}/people.db/people"
    code = (
        "import sys; import numpy as np; from person_reid.gallery.gallery import open_gallery\n"
        "gallery = open_gallery(sys.argv[1])\n"
        "gallery.add(['/a.jpg'], np.eye(1, 16, dtype=np.float32))\n"
        "gallery.remember({'network': 1})"
    )
    subprocess.run([sys.executable, "-c", code, address], check=True, cwd=ROOT)
    gallery = open_gallery(address, new=False)
    assert gallery.recall("network") == 1
    assert len(gallery) == 1
    assert str(gallery.search(features[:1], 1)[0][0].path) == "/a.jpg"
    gallery.close()


def test_of_two_who_remember_at_once_one_is_told_what_the_other_stored(tmp_path, monkeypatch):
    """Both have seen that nothing is there before either stores anything."""
    address = f"milvus://{tmp_path}/people.db/people"
    galleries = [MilvusGallery(address) for _ in range(2)]
    galleries[0].remember({"there": 1})
    recall, both = MilvusNotes.recall, threading.Barrier(2)

    def recall_together(self, key):
        found = recall(self, key)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        return found

    monkeypatch.setattr(MilvusNotes, "recall", recall_together)
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda i: galleries[i].remember({"tracks 1": i}), range(2)))
    monkeypatch.undo()
    assert told[0] == told[1] == {"tracks 1": galleries[0].recall("tracks 1")}
    rows = galleries[0].server.query("people_about", 'key != ""', ["key"])
    assert {row["key"] for row in rows} == {"there 000", "tracks 1 000"}
    for gallery in galleries:
        gallery.close()


def test_a_turn_of_a_process_that_was_killed_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("person_reid.gallery.milvus_notes.LONGEST_TURN", 0)
    gallery = MilvusGallery(f"milvus://{tmp_path}/people.db/people")
    gallery.remember({"there": 1})
    gallery.notes._put({"turn of a process that was killed": "0"})
    assert gallery.remember({"network": 2}) == {"network": 2}
    gallery.close()


def test_nobody_listens():
    with pytest.raises(
        UserError, match=r"milvus://127.0.0.1:9/people: .*Check that Milvus runs there"
    ):
        open_gallery("milvus://127.0.0.1:9/people")


def test_the_commands_of_search_take_an_address(here, capsys):
    """Index, enroll, ask, identify and forget, with nothing but another --index."""
    write_people(here / "people", people=3, images=4)
    address = f"milvus://{here}/people.db/people"

    def said(*words):
        search.main([*map(str, words), "--index", address])
        return capsys.readouterr().out

    images = sorted((here / "people").rglob("*.png"))
    pattern = r"_c(?P<camera>\d+)"
    assert "12 images added" in said("index", "people", *SMALLEST, "--pattern", pattern)
    assert "0 images added, 12 were there already, 12 in all" in said("index", "people")
    assert (
        said("query", images[5], "--top", "2", "--gpu_ids", "-1")
        .splitlines()[1]
        .endswith(images[5].name)
    )
    said("enroll", "Anna", *images[:4])
    said("identify", images[1], "--threshold", "0.9", "--gpu_ids", "-1", "--json", "found.json")
    assert json.loads((here / "found.json").read_text())["queries"][0]["identity"] == "Anna"
    (here / "list.csv").write_text(f"path,identity\n{images[8]},Berta\n")
    assert "1 of its 1 images" in said("apply", "list.csv")
    assert "1 image forgotten, 11 left" in said("forget", "--identity", "Berta")
    said("people", "--save", "people.csv", "--min_samples", "2")
    with (here / "people.csv").open(newline="", encoding="utf-8") as file:
        assert {row["path"] for row in csv.DictReader(file)} == {
            str(image) for image in images if image != images[8]
        }


@pytest.mark.parametrize(("k", "width"), [(1, 128), (100, 200)])
def test_the_graph_of_a_server_is_searched_widely_enough(
    pair, features, by_graph, monkeypatch, k, width
):
    """A server refuses a width below k."""
    gallery, _ = pair
    search, told = gallery.client.search, []

    def noting(*given, search_params, **how):
        told.append(search_params)
        return search(*given, **how)

    monkeypatch.setattr(gallery.client, "search", noting)
    monkeypatch.setattr(gallery.client, "describe_index", lambda *_: {"index_type": "HNSW_SQ"})
    assert len(gallery.search(features[:1], k)[0]) == k
    assert told == [{"params": {"ef": width}}]
