"""A gallery in PostgreSQL: several writers, killed servers and clients, lost connections."""

import re
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from unittest.mock import Mock

import numpy as np
import pytest

from person_reid.errors import StoreAway, StoreError, UserError
from person_reid.gallery import postgres as engine
from person_reid.gallery.contract import TRACK_RECORDS
from person_reid.gallery.gallery import growing_gallery, open_gallery
from person_reid.gallery.index_folder import is_owner
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.postgres import PostgresGallery
from person_reid.gallery.upkeep import faults_of
from tests.support import ROOT

WIDTH, CHUNK = 16, 50
ADDER = """
import sys
from person_reid.gallery.gallery import open_gallery
from tests.gallery.test_postgres import chunk
gallery = open_gallery(sys.argv[1])
for number in range(10**6):
    gallery.add(*chunk(number))
    print(number, flush=True)
"""


def chunk(number):
    """Return the paths, features, facts and states of an addition."""
    paths = [f"/crops/{number}/{i}.jpg" for i in range(CHUNK)]
    features = np.random.default_rng(number).normal(size=(CHUNK, WIDTH)).astype(np.float32)
    return paths, features, {p: About(f"person {number}", "1") for p in paths}, ["state"] * CHUNK


def adding(address):
    """Return a process that adds chunk by chunk, and prints the number of each that it added."""
    command = [sys.executable, "-c", ADDER, address]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def there(gallery):
    """Return {number of a chunk: how many of its images are in the gallery}."""
    found = (path for images in gallery.images() for path, _ in images)
    return Counter(int(path.parent.name) for path in found)


def acknowledged(process, most):
    """Return the numbers that a process prints, up to so many; fewer if it ends before."""
    lines = (process.stdout.readline() for _ in range(most))
    return [int(line) for line in lines if line]


@pytest.fixture
def gallery(postgres):
    with closing(PostgresGallery(postgres)) as opened:
        yield opened


@pytest.fixture
def with_graph(postgres, monkeypatch):
    """A gallery whose graph is used for a few images already."""
    monkeypatch.setattr(engine, "GRAPH_FROM", 200)
    monkeypatch.setattr(engine, "SMALL", 20)
    with closing(open_gallery(f"{postgres}?options=-cenable_seqscan%3Doff")) as opened:
        for number in range(6):
            opened.add(*chunk(number))
        yield opened


@pytest.mark.parametrize("victim", ["client", "server"])
def test_what_was_acknowledged_survives_a_kill(postgres, postgres_server, victim):
    process = adding(postgres)
    said = acknowledged(process, 5)
    if victim == "client":
        process.kill()
    else:
        postgres_server.kill()
    said += acknowledged(process, 10**6)
    error = process.communicate()[1]
    if victim == "server":
        assert re.search(r"StoreAway: postgresql://[^\n]+\n$", error)
        postgres_server.start()
    with closing(open_gallery(postgres)) as gallery:
        found = there(gallery)
        assert {*said} <= {*found}
        assert {*found.values()} == {CHUNK}  # of an addition, all or nothing
        for number in said:
            paths, features, *_ = chunk(number)
            answers = gallery.search(features[:1], 1)
            assert str(answers[0][0].path) == paths[0]


def test_what_was_forgotten_stays_away_after_a_kill(gallery, postgres, postgres_server):
    for number in range(4):
        gallery.add(*chunk(number))
    assert gallery.forget(Filter(identity="person 2"), "identity") == CHUNK
    postgres_server.kill()
    postgres_server.start()
    assert {*there(gallery)} == {0, 1, 3}  # on a new connection, without an error
    assert not any(gallery.images(Filter(identity="person 2")))


def test_two_writers_and_a_forgetter(gallery, postgres):
    def write(numbers):
        with closing(open_gallery(postgres)) as own:
            for number in numbers:
                own.add(*chunk(number))

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, range(9)), pool.submit(write, range(8, -1, -1))]
        while not all(writer.done() for writer in writers):
            gallery.forget(Filter(identity="person 3"), "identity")
        assert [writer.result() for writer in writers] == [None, None]
    gallery.forget(Filter(identity="person 3"), "identity")
    assert there(gallery) == {number: CHUNK for number in range(9) if number != 3}


def test_the_second_of_two_first_additions_waits_for_no_writer(gallery, postgres, monkeypatch):
    gallery.add(*chunk(0))
    with closing(open_gallery(f"{postgres}?options=-clock_timeout%3D1s")) as second:
        width, known = second.width, iter([None])  # it looked before the first had added
        monkeypatch.setattr(second, "width", lambda: next(known, width()))
        with gallery._transaction() as writing:
            writing.execute(f'LOCK TABLE "{gallery.name}_images" IN ROW EXCLUSIVE MODE')
            second.add(*chunk(1))
    assert there(gallery) == {0: CHUNK, 1: CHUNK}


def test_of_two_forgetters_the_second_deletes_the_record_of_the_track_file(gallery, postgres):
    paths, features, *_ = chunk(0)
    gallery.add(paths[:2], features[:2], dict.fromkeys(paths[:2], About(source="film")))
    gallery.note(TRACK_RECORDS, {"film": {"path": "tracks.txt"}})
    with closing(PostgresGallery(postgres)) as other, ThreadPoolExecutor(1) as pool:
        with gallery._transaction():
            assert gallery.forget(Filter(image=paths[0]), "image") == 1
            second = pool.submit(other.forget, Filter(image=paths[1]), "image")
            wait([second], timeout=0.5)
        assert second.result() == 1
    assert gallery.notes(TRACK_RECORDS) == {}


def test_a_restart_in_the_middle_of_searches_is_an_error_in_one_line(
    gallery, postgres, postgres_server
):
    gallery.add(*chunk(0))
    paths, features, *_ = chunk(0)
    found, errors, done = [], [], threading.Event()

    def search():
        while not done.is_set():
            try:
                found.append([str(answer[0].path) for answer in gallery.search(features, 1)])
            except StoreError as error:
                errors.append(str(error))
                time.sleep(0.05)

    def answered():
        count = len(found)
        while len(found) < count + 2:
            time.sleep(0.01)

    thread = threading.Thread(target=search)
    thread.start()
    answered()
    postgres_server.kill()
    while not errors:
        time.sleep(0.01)
    postgres_server.start()
    answered()
    done.set()
    thread.join()
    assert all("\n" not in error and error.startswith(postgres) for error in errors)
    assert all(answer == paths for answer in found)


def end_connections(address):
    """End all other connections to the database of a gallery."""
    with closing(PostgresGallery(address)) as other, other._transaction() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE pid != pg_backend_pid() AND datname = current_database()"
        )


def test_a_connection_that_was_lost_is_made_anew(gallery, postgres):
    gallery.add(*chunk(0))
    end_connections(postgres)
    assert len(gallery) == CHUNK


def with_crops(address, folder):
    """Return a gallery with a crops folder, and two images in it."""
    opened = PostgresGallery(f"{address}?crops={folder}")
    paths = [folder / f"{opened.name}.crops" / "film" / f"00000{n}_000001.jpg" for n in (1, 2)]
    paths[0].parent.mkdir(parents=True)
    for path in paths:
        path.write_bytes(b"picture")
    facts = {path: About("Anna", source="film", track="1") for path in paths}
    opened.add(paths, np.eye(2, WIDTH), facts, ["", ""])
    return opened, paths


@pytest.mark.parametrize("step", ["image_key", "hash_of_key", "track_key"])
def test_a_connection_lost_within_a_forgetting_leaves_all_as_it_was(
    postgres, tmp_path, monkeypatch, step
):
    gallery, paths = with_crops(postgres, tmp_path)
    work = getattr(engine, step)

    def interrupted(*arguments):
        monkeypatch.setattr(engine, step, work)
        end_connections(postgres)
        return work(*arguments)

    monkeypatch.setattr(engine, step, interrupted)
    with pytest.raises(StoreAway):
        gallery.forget(Filter(identity="Anna"), "identity")
    assert [*gallery.abouts(paths)] == paths
    assert all(path.exists() for path in paths)
    assert gallery.notes("forgotten") == {}
    assert gallery.forget(Filter(identity="Anna"), "identity") == 2
    assert not any(path.exists() for path in paths)
    gallery.close()


def test_pictures_are_deleted_after_their_rows_and_by_the_next_call_after_a_kill(
    postgres, tmp_path, monkeypatch
):
    gallery, paths = with_crops(postgres, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine, "delete_crops", Mock(side_effect=KeyboardInterrupt))
        gallery.forget(Filter(identity="Anna"), "identity")
    assert not any(gallery.images())
    assert all(path.exists() for path in paths)
    gallery.add(paths[1:], np.eye(1, WIDTH), None, [""])  # added again meanwhile
    assert gallery.forget(Filter(identity="Anna"), "identity") == 0
    assert [path.exists() for path in paths] == [False, True]
    gallery.close()


def test_a_failed_beginning_keeps_what_another_machine_has_begun(postgres):
    with pytest.raises(KeyboardInterrupt), growing_gallery(postgres) as first:
        first.remember({"network": "a"})
        other = PostgresGallery(postgres)
        assert other.remember({"network": "a"}) == {"network": "a"}
        raise KeyboardInterrupt
    other.add(*chunk(0))
    assert (len(other), other.recall("network")) == (CHUNK, "a")
    other.close()


def test_a_call_waits_for_a_locked_table_until_it_is_interrupted(gallery, postgres):
    gallery.add(*chunk(0))
    with closing(PostgresGallery(f"{postgres}?options=-clock_timeout%3D100ms")) as hasty:
        with gallery._transaction() as writing, ThreadPoolExecutor(1) as pool:
            assert gallery._rows("SHOW lock_timeout") == [("1min",)]
            writing.execute(f'LOCK TABLE "{gallery.name}_images" IN ACCESS EXCLUSIVE MODE')
            with pytest.raises(StoreAway, match="lock timeout"):
                len(hasty)
            with closing(PostgresGallery(f"{postgres}?options=-clock_timeout%3D1h")) as patient:
                waiting = pool.submit(patient.__len__)
                assert not wait([waiting], timeout=0.5).done
                patient.interrupt()
                with pytest.raises(StoreAway, match="cancel"):
                    waiting.result(timeout=30)
        assert len(hasty) == CHUNK


def new_database(gallery, words=""):
    """Return the address of a gallery in a new database."""
    name = f"other_{secrets.token_hex(4)}"
    gallery._connection.execute(f"CREATE DATABASE {name} {words}")
    return f"{gallery.place.rpartition('/')[0]}/{name}/{gallery.name}"


def test_a_database_without_an_encoding_keeps_names(gallery):
    address = new_database(gallery, "TEMPLATE template0 ENCODING 'SQL_ASCII'")
    with closing(PostgresGallery(address)) as ascii_only:
        ascii_only.add(["/1.jpg"], np.eye(1, WIDTH), {"/1.jpg": About("Zoë 王")}, [""])
        assert ascii_only.values("identity") == ["Zoë 王"]


def test_pgvector_may_be_in_a_schema_of_its_own(gallery):
    address = new_database(gallery)
    with gallery.psycopg.connect(address.rpartition("/")[0], autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "My Extensions"')
        connection.execute('CREATE EXTENSION vector SCHEMA "My Extensions"')
    with closing(PostgresGallery(address)) as apart:
        apart.add(*chunk(0))
        paths, features, *_ = chunk(0)
        assert [str(found[0].path) for found in apart.search(features, 1)] == paths


def test_a_copy_of_a_database_deletes_no_crops_of_the_original(gallery, postgres, tmp_path, caplog):
    original, paths = with_crops(postgres, tmp_path)
    assert is_owner(original.file, original.owner)
    with closing(PostgresGallery(f"{new_database(gallery)}?crops={tmp_path}")) as copy:
        copy.remember({"token": original.recall("token")})
        copy.add(paths, np.eye(2, WIDTH), dict.fromkeys(paths, About(source="film")), ["", ""])
        assert copy.file
        assert not is_owner(copy.file, copy.owner)
        assert copy.forget(Filter(source="film"), "source") == 2
    assert all(path.exists() for path in paths)
    assert "film: 2 images of what is forgotten stay there" in caplog.text
    assert original.forget(Filter(source="film"), "source") == 2
    assert not any(path.exists() for path in paths)
    original.close()


def test_a_role_needs_no_rights_but_those_to_create_tables(gallery):
    """The administrator has made the extension."""
    address = new_database(gallery)
    PostgresGallery(address).close()
    role = f"anna_{secrets.token_hex(4)}"
    with gallery.psycopg.connect(address.rpartition("/")[0], autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    with closing(PostgresGallery(address.replace("reid@", f"{role}@"))) as limited:
        limited.add(*chunk(0))
        assert limited.forget(Filter(camera="1"), "camera") == CHUNK
        assert limited.owner


def test_the_graph_answers_and_grows(with_graph, caplog):
    gallery = with_graph
    caplog.set_level("INFO")
    gallery.prepare()
    assert re.search(r"looks at \d+ images of the graph, recall (1\.0|0\.9[89])", caplog.text)
    with gallery._transaction() as cursor:
        plan = cursor.execute(
            f'EXPLAIN SELECT id FROM "{gallery.name}_images" ORDER BY feature <=> %b LIMIT 3',
            (np.ones(WIDTH, np.float32),),
        ).fetchall()
    assert "_graph" in str(plan)
    gallery.add(*chunk(6))
    for number in range(7):
        paths, features, *_ = chunk(number)
        for among in (Filter(), Filter(camera="1"), Filter(identity=f"person {number}")):
            answers = gallery.search(features, 3, among=among)
            assert [str(found[0].path) for found in answers] == paths
            assert all(len(found) == 3 for found in answers)
    assert gallery.search(features[:1], 3, among=Filter(camera="2")) == [[]]


def test_the_graph_fits_into_the_memory_that_it_is_built_in(with_graph, monkeypatch):
    gallery, connect, told = with_graph, with_graph._connect, []
    paths = [f"/more/{i}.jpg" for i in range(5000)]
    features = np.random.default_rng(0).normal(size=(5000, WIDTH))
    gallery.add(paths, features, None, [""] * 5000)
    monkeypatch.setattr(engine, "LEAST_MEMORY", 1024)

    def heard():
        connection = connect()
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary))
        return connection

    monkeypatch.setattr(gallery, "_connect", heard)
    gallery.prepare()
    assert not [words for words in told if "maintenance_work_mem" in words]


def test_the_trial_asks_with_images_that_the_gallery_lacks(with_graph, monkeypatch):
    gallery, asked = with_graph, []
    search = gallery._nearest

    def recorded(cursor, query, *settings, **effort):
        asked.append(query.to_numpy().astype(np.float32))
        return search(cursor, query, *settings, **effort)

    monkeypatch.setattr(gallery, "_nearest", recorded)
    gallery.prepare()
    held = np.concatenate([features for _, features in gallery.entries()])
    cosines = held @ held.T - 2 * np.eye(len(held))
    differences = held - held[cosines.argmax(axis=1)]
    explained = []
    for query in asked[:20]:  # each is an image, changed as another differs from its neighbour
        changes = 2**0.5 * (query - held)
        explained += [min(np.linalg.norm(differences - each, axis=1).min() for each in changes)]
        assert np.linalg.norm(query - held, axis=1).min() > 0.1
    assert np.mean(np.array(explained) < 0.01) > 0.9  # the graph may miss a neighbour


def test_a_graph_that_was_left_unfinished_is_built_anew(with_graph):
    gallery = with_graph
    gallery.prepare()
    with gallery._transaction() as cursor:
        cursor.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)",
            (f"{gallery.name}_graph",),
        )
        cursor.execute(f"DELETE FROM {gallery.name}_notes WHERE kind = 'trial'")
    gallery.prepare()
    words = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
    assert gallery._rows(words, f"{gallery.name}_graph") == [(True,)]
    assert not [*faults_of(gallery)]


def test_images_below_the_folder_of_the_crops_are_found_on_each_machine(postgres, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):  # the same folder, where two machines see it
        folder.mkdir()
        (folder / "1.jpg").write_bytes(b"same")
    first = open_gallery(f"{postgres}?crops={here}")
    first.add([here / "1.jpg", "/elsewhere.jpg"], np.eye(2, WIDTH), None, ["", ""])
    first.note("kind", {"crops": [str(here / "1.jpg"), "/elsewhere.jpg"]})
    second = open_gallery(f"{postgres}?crops={there}")
    assert second.notes("kind") == {"crops": [str(there / "1.jpg"), "/elsewhere.jpg"]}
    assert second.file.parent == there
    assert {*second.abouts([there / "1.jpg"])} == {there / "1.jpg"}
    assert str(second.search(np.eye(2, WIDTH), 1)[1][0].path) == "/elsewhere.jpg"
    third = open_gallery(postgres)  # as the first
    assert third.file.parent == here
    for each in (first, second, third):
        each.close()


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("postgresql://anna:secret@db/shop/people", "PGPASSWORD"),
        ("postgresql://db/shop/people?password=secret", "PGPASSWORD"),
        ("postgresql://anna:first#secret@db/shop/people", "PGPASSWORD"),
        ("postgresql://anna:first/secret@db/shop/people", "PGPASSWORD"),
        ("postgresql://anna:12/secret?34@db/shop/people", "PGPASSWORD"),
        ("postgresql://anna:first?secret@db/shop/people", "PGPASSWORD"),
        ("postgresql://anna:[secret@db/shop/people", "PGPASSWORD"),
        ("postgresql://anna:one@secret@db/shop/people", "PGPASSWORD"),
        ("postgresql://db/shop/people?sslmode=require&sslpassword=secret", "PGPASSWORD"),
        ("postgresql://[::1/shop/people", "Invalid IPv6"),
        ("postgresql://db/people", "expected postgresql://HOST/DATABASE/NAME"),
        (f"postgresql://db/shop/{'л' * 28}", "at most 54 bytes"),
        ("postgresql://127.0.0.1:1/shop/people", "connection failed"),
        ("postgresql://127.0.0.1:1/shop/people?sslmode=certain", "sslmode"),
    ],
)
def test_an_address_that_cannot_be_used_is_an_error_in_one_line(address, found):
    with pytest.raises(UserError) as error:
        PostgresGallery(address)
    assert found in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pgvector_that_is_too_old_is_refused(postgres, gallery, monkeypatch):
    gallery.add(*chunk(0))
    monkeypatch.setattr(engine, "PGVECTOR", (99, 0))
    with pytest.raises(UserError, match=r"pgvector 0\.\d+\.\d+; needs 99.0 or newer"):
        open_gallery(postgres)


def test_a_later_version_is_refused(postgres, gallery, monkeypatch):
    monkeypatch.setattr(engine, "VERSION", 2)
    gallery.add(*chunk(0))
    monkeypatch.setattr(engine, "VERSION", 1)
    with pytest.raises(UserError, match="of version 2; this program knows versions up to 1"):
        open_gallery(postgres)


def test_forgetting_says_what_is_left(gallery, caplog):
    caplog.set_level("INFO")
    gallery.add(*chunk(0))
    assert gallery.forget(Filter(camera="1"), "camera") == CHUNK
    assert "until" in caplog.text
    assert f'VACUUM "{gallery.name}_images"' in caplog.text
