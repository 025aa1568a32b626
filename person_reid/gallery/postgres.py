"""A gallery in PostgreSQL with pgvector, which several machines can write and search.

    gallery = PostgresGallery("postgresql://anna@db.example/shop/people?crops=/mnt/crops")

The address is a libpq address, with the gallery's name after the database: here, the tables
`people_images`, `people_about`, `people_notes` and `people_barred` of `shop`. `crops` names a
folder that all machines share. Paths below it are stored relative to it, so each machine can mount
it elsewhere. The gallery remembers the first folder given. Passwords come from the usual places of
libpq, such as PGPASSWORD or ~/.pgpass; `sslmode` controls TLS. Each method is one transaction.
"""

import json
import logging
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
import numpy.typing as npt

from person_reid.config.times import stored
from person_reid.errors import StoreError, UserError, first_line, optional_module
from person_reid.files import real
from person_reid.gallery.checks import (
    SAME_PICTURE,
    check_count,
    check_filter,
    check_version,
    checked_features,
    checked_paths,
    known_of,
    log_stripped,
    state_of,
)
from person_reid.gallery.contract import TRACK_RECORDS, Gallery
from person_reid.gallery.forgetting import hash_of_key, image_key, track_key
from person_reid.gallery.index_folder import IndexFolder, delete_crops
from person_reid.gallery.metadata import EVERYTHING, FACT_NAMES, About, Filter, Found
from person_reid.retrieval.neighbours import nearest_of_chunks, overlap
from person_reid.retrieval.similarity import Features
from person_reid.text import parse_json

log = logging.getLogger(__name__)
VERSION = 1
POSTGRES, PGVECTOR = 15, (0, 8, 4)  # the earliest versions that work
AT_ONCE = 5000  # images per answer of the server
SMALL = 10_000  # up to so many images are compared one by one, even if there is a graph
GRAPH_FROM = 20_000  # images from which there is a graph
WIDEST_GRAPH = 4000  # the largest dimension of a halfvec in a graph of pgvector
LINKS, CONSTRUCTION = 16, 100  # links per image in the graph, and images compared to find them
RECALL, NEIGHBOURS, SAMPLED = 0.98, 10, 200  # a trial's goal and its number of images
EFFORTS = (40, 80, 160, 320, 640, MOST_EFFORT := 1000)  # images that a search visits
EFFORT = (
    "SELECT set_config('hnsw.ef_search', %s, true), "
    "set_config('hnsw.iterative_scan', 'relaxed_order', true)"
)
GRAPH_BYTES = 2 * 8 * LINKS + 200  # per image, besides its feature
SETTINGS = {"connect_timeout": "10", "tcp_user_timeout": "30000", "application_name": "person-reid"}
FACTS = ", ".join(FACT_NAMES)
TEXT = 'text COLLATE "C"'  # sorted as SQLite and Python do
TABLES = f"""
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS "{{name}}_about" (key {TEXT} PRIMARY KEY, value text NOT NULL);
CREATE TABLE IF NOT EXISTS "{{name}}_notes" (
    number bigint GENERATED ALWAYS AS IDENTITY, kind text, name text, value text NOT NULL,
    PRIMARY KEY (kind, name));
CREATE TABLE IF NOT EXISTS "{{name}}_barred" (hash bytea PRIMARY KEY);
CREATE TABLE IF NOT EXISTS "{{name}}_images" (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path bytea UNIQUE NOT NULL, state text NOT NULL, feature halfvec NOT NULL,
    {", ".join(f"{each} {TEXT}" for each in FACT_NAMES)}, more jsonb);
CREATE INDEX IF NOT EXISTS "{{name}}_camera" ON "{{name}}_images" (camera, time);
CREATE INDEX IF NOT EXISTS "{{name}}_time" ON "{{name}}_images" (time);
CREATE INDEX IF NOT EXISTS "{{name}}_identity" ON "{{name}}_images" (identity);
CREATE INDEX IF NOT EXISTS "{{name}}_track" ON "{{name}}_images" (source, track);
CREATE INDEX IF NOT EXISTS "{{name}}_more" ON "{{name}}_images" USING gin (more jsonb_path_ops);
"""
GRAPH = f"""
CREATE INDEX CONCURRENTLY IF NOT EXISTS "{{name}}_graph" ON "{{name}}_images"
USING hnsw (feature halfvec_cosine_ops) WITH (m = {LINKS}, ef_construction = {CONSTRUCTION})
"""
COLUMNS = f"path, state, feature, {FACTS}, more"
KEPT = {  # a replaced row keeps its person and track only if the picture is the same
    "state": "excluded.state",
    "feature": "excluded.feature",
    **{name: f"coalesce(excluded.{name}, old.{name})" for name in FACT_NAMES},
    **{
        name: f"coalesce(excluded.{name}, "
        f"CASE WHEN old.feature <=> excluded.feature <= {1 - SAME_PICTURE} THEN old.{name} END)"
        for name in ("identity", "track")
    },
    "more": "coalesce(old.more || excluded.more, excluded.more, old.more)",
}
ADD = f"""
WITH added AS MATERIALIZED (
    SELECT path, state, feature, {FACTS}, own::jsonb AS more FROM unnest(%b::bytea[], %b::text[],
    %b::halfvec[], {"%b::text[], " * len(FACT_NAMES)}%b::text[])
    AS a (path, state, feature, {FACTS}, own)
), stripped AS (
    SELECT count(*) FROM added JOIN "{{name}}_images" AS old USING (path)
    WHERE old.feature <=> added.feature > {1 - SAME_PICTURE}
    AND concat(old.identity, old.track) > ''
), written AS (
    INSERT INTO "{{name}}_images" AS old ({COLUMNS}) SELECT {COLUMNS} FROM added
    ON CONFLICT (path) DO UPDATE SET {", ".join(f"{name} = {how}" for name, how in KEPT.items())}
) SELECT count FROM stripped
"""
DESCRIBE = f"""
UPDATE "{{name}}_images" SET {", ".join(f"{each} = coalesce(%s, {each})" for each in FACT_NAMES)},
more = coalesce(more || %s::jsonb, more, %s::jsonb) WHERE path = %s
"""


class PostgresGallery(Gallery):
    """The gallery at postgresql://HOST/DATABASE/NAME; it need not exist."""

    path = ""
    new = True

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        asked = dict(parse_qsl(parts.query))
        if parts.password or "password" in asked:
            raise UserError(
                f"{parts.scheme}://…@{parts.hostname}: an address is printed and kept. Give the "
                "password in PGPASSWORD or ~/.pgpass."
            )
        place, _, self.name = parts.path.rpartition("/")
        if not (place.strip("/") and self.name.isidentifier() and len(self.name) <= 50):
            raise UserError(f"{address}: expected postgresql://HOST/DATABASE/NAME.")
        self.path = address
        self.psycopg = optional_module(
            "psycopg", UserError(f'{address}: needs psycopg: python -m pip install ".[postgres]"')
        )
        self._folder = asked.pop("crops", None)
        self.place = urlunsplit(parts._replace(path=place, query=urlencode(asked)))
        self._connection: Any = None
        self._made = False
        self.new = not self._there()
        check_version(address, self.recall("version") or 1, VERSION)

    @cached_property
    def file(self) -> Path | None:
        """The path beside which crops and uploads are stored, if the address names a folder."""
        folder = self._folder or self.recall("crops")
        return real(folder) / self.name if folder else None

    # --- the server

    def _connected(self) -> Any:
        """Return the connection, renewed if it is broken."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Any:
        """Return a new connection. Raises UserError for versions that are too old."""
        given = SETTINGS | self.psycopg.conninfo.conninfo_to_dict(self.place)
        connection = self.psycopg.connect(**given, autocommit=True, prepare_threshold=None)
        if (version := connection.info.server_version // 10_000) < POSTGRES:
            raise UserError(f"{self.path}: PostgreSQL {version}; needs {POSTGRES} or newer.")
        self._register(connection)
        return connection

    def _register(self, connection: Any) -> None:
        """Send arrays as halfvec: the number of values, then float16 in network byte order."""
        kind = self.psycopg.types.TypeInfo.fetch(connection, "halfvec")
        if kind is None:  # until the database has its first gallery
            return
        found = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        if tuple(map(int, (version := found.fetchone()[0]).split("."))) < PGVECTOR:
            raise UserError(
                f"{self.path}: pgvector {version}; needs {'.'.join(map(str, PGVECTOR))} or newer: "
                "before it, additions beside VACUUM could damage the graph."
            )
        kind.register(connection)
        adapt = self.psycopg.adapt

        class Dumper(adapt.Dumper):  # type: ignore[misc, name-defined]
            oid, format = kind.oid, self.psycopg.pq.Format.BINARY

            def dump(self, row: Features) -> bytes:
                return struct.pack(">HH", len(row), 0) + row.astype(">f2").tobytes()

        class Loader(adapt.Loader):  # type: ignore[misc, name-defined]
            format = Dumper.format

            def load(self, data: bytes) -> Features:
                return np.frombuffer(bytes(data), ">f2", offset=4).astype(np.float32)

        connection.adapters.register_dumper(np.ndarray, Dumper)
        connection.adapters.register_loader(kind.oid, Loader)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Yield a cursor; an error of the server becomes a StoreError, and nothing is written.

        If the server has restarted since the last call, this call uses a new connection.
        """
        with self._explained(), ExitStack() as stack:
            try:
                stack.enter_context(self._connected().transaction())
            except self.psycopg.OperationalError:
                stack.enter_context(self._connected().transaction())
            yield stack.enter_context(self._connection.cursor(binary=True))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (self.psycopg.Error, UnicodeError) as error:
            raise StoreError(f"{self.path}: {first_line(error, 300)}") from error

    def _rows(self, words: str, *values: Any) -> list[Any]:
        """Return the rows of one command, none if the gallery is new; {name} is its name."""
        if not self._there():
            return []
        with self._transaction() as cursor:
            cursor.execute(words.format(name=self.name), values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def _there(self) -> bool:
        """Return whether the tables exist."""
        if not self._made:
            with self._transaction() as cursor:
                cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f'"{self.name}_images"',))
                self._made = cursor.fetchone()[0]
        return self._made

    def _make(self, width: int | None = None) -> None:
        """Create the tables for features of one dimension, unless another process has done so."""
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('person-reid'))")
            self._connection.execute(TABLES.format(name=self.name))
            self._made = True
            if width and self.width() is None:
                feature = f'ALTER TABLE "{self.name}_images" ALTER feature'
                cursor.execute(f"{feature} TYPE halfvec({width})")
                if width < WIDEST_GRAPH:  # stored inside its row, which is faster to compare
                    cursor.execute(f"{feature} SET STORAGE PLAIN")
        self._register(self._connection)
        folder = {"crops": str(real(self._folder))} if self._folder else {}
        self.remember({"version": VERSION, "token": secrets.token_hex(4), **folder})

    # --- reading

    def __len__(self) -> int:
        found = self._rows('SELECT count(*) FROM "{name}_images"')
        return int(found[0][0]) if found else 0

    def width(self) -> int | None:
        """Return the dimension of the features, or None before the first addition."""
        found = self._rows(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass(%s) "
            "AND attname = 'feature'",
            f'"{self.name}_images"',
        )
        return int(found[0][0]) if found and found[0][0] > 0 else None

    def _key(self, path: str | os.PathLike[str] | bytes) -> bytes:
        """Return a path as it is stored: relative to the folder of the crops, if below it."""
        return IndexFolder(self.file).stored(os.fsdecode(path))

    def _path(self, key: bytes) -> Path:
        """Return the path on this machine for a stored path."""
        return IndexFolder(self.file).path(key)

    def _entry(self, row: Sequence[Any]) -> tuple[Path, About]:
        """Return the image in a row (id, path, facts..., more, ...), and its facts."""
        return self._path(row[1]), About(*row[2 : 3 + len(FACT_NAMES)])

    def _condition(self, which: Filter) -> tuple[str, list[Any]]:
        """Return a filter as SQL, and its values."""
        check_filter(which)
        clauses, values = ["true"], []
        for column, sign, value in which.comparisons():
            clauses.append(f"{column} {sign} %s")
            values.append(self._key(value) if column == "path" else value)
        if which.where:
            clauses.append("more @> %s::jsonb")
            values.append(json.dumps(dict(which.where)))
        if which.images is not None:
            clauses.append("path = ANY(%s)")
            values.append([*map(self._key, which.images)])
        return " AND ".join(clauses), values

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that the gallery lacks or whose files have changed since."""
        paths = checked_paths(paths, self.path)
        keys = [*map(self._key, paths)]
        words = 'SELECT path, state FROM "{name}_images" WHERE path = ANY(%s)'
        states = dict(self._rows(words, keys))
        return [p for p, key in zip(paths, keys, strict=True) if states.get(key) != state_of(p)]

    def _read(
        self, which: Filter, columns: str = "", after: Path | None = None
    ) -> Iterator[list[Any]]:
        """Yield chunks of (id, path, facts..., more, columns...) in order of id."""
        words, values = self._condition(which)
        last = 0
        if after:
            same = 'SELECT id FROM "{name}_images" WHERE path = %s'
            (last,) = next(iter(self._rows(same, self._key(after))), (2**63 - 1,))
        while rows := self._rows(
            f'SELECT id, path, {FACTS}, more{columns} FROM "{{name}}_images" '
            f"WHERE id > %s AND {words} ORDER BY id LIMIT {AT_ONCE}",
            last,
            *values,
        ):
            yield rows
            last = rows[-1][0]

    def entries(
        self, which: Filter = EVERYTHING
    ) -> Iterator[tuple[list[tuple[Path, About]], Features]]:
        """Yield the images in chunks, and their features (n, D)."""
        for rows in self._read(which, ", feature"):
            yield [*map(self._entry, rows)], np.stack([row[-1] for row in rows])

    def images(
        self, which: Filter = EVERYTHING, after: Path | None = None
    ) -> Iterator[list[tuple[Path, About]]]:
        """Yield the images in chunks, without features; `after`: only those after this one."""
        return ([*map(self._entry, rows)] for rows in self._read(which, after=after))

    def values(self, name: str) -> list[str]:
        """Return the distinct values of a column of About, in alphabetical order."""
        if name not in FACT_NAMES:
            raise UserError(f"no column {name!r}; there are {FACTS}.")
        words = f"SELECT DISTINCT {name} FROM \"{{name}}_images\" WHERE {name} > '' ORDER BY 1"
        return [value for (value,) in self._rows(words)]

    # --- changes

    def add(
        self,
        paths: Sequence[str | Path],
        features: npt.NDArray[Any],
        abouts: Mapping[Any, About] | None = None,
        states: Sequence[str] | None = None,
    ) -> None:
        """Add or replace N images, all or none: see SearchIndex.add."""
        paths = checked_paths(paths, f"{self.path}: not added")
        features = checked_features(features, self.width(), self.path, paths)
        known = known_of(abouts or {}, paths)
        if len(paths) and self.width() is None:
            self._make(features.shape[1])
            features = checked_features(features, self.width(), self.path, paths)
        states = states or [*map(state_of, paths)]
        left = [*zip(map(self._key, paths), states, features, known, strict=True)]
        with self._transaction() as cursor:
            stripped = 0
            while left:  # an image that is given twice takes two rounds
                now = {row[0]: row for row in reversed(left)}
                left = [row for row in left if row is not now[row[0]]]
                rows = [  # in a fixed order, so that two writers never wait for each other
                    (*row, *about[:-1], about.more and json.dumps(about.more))
                    for *row, about in sorted(now.values(), key=itemgetter(0))
                ]
                cursor.execute(ADD.format(name=self.name), [*map(list, zip(*rows, strict=True))])
                stripped += cursor.fetchone()[0]
        log_stripped(self.path, stripped)

    def describe(self, abouts: Mapping[Any, About]) -> int:
        """Record facts about images in the gallery, and return their number."""
        keys = map(self._key, checked_paths([*abouts], self.path))
        rows = sorted(zip(keys, known_of(abouts, abouts), strict=True), key=itemgetter(0))
        if not self._there():
            return 0
        with self._transaction() as cursor:
            cursor.executemany(
                DESCRIBE.format(name=self.name),
                [
                    (*a[:-1], own, own, key)
                    for key, a in rows
                    for own in [a.more and json.dumps(a.more)]
                ],
            )
            return int(cursor.rowcount)

    def forget(self, which: Filter, asked: str, keep_crops: bool = False) -> int:
        """Delete images, so that no search finds them any more. See SearchIndex.forget.

        Their bytes stay in the server's files until VACUUM runs, as the log explains.
        """
        words, values = self._condition(which)
        if not self._there():
            return 0
        images, token, now = f'"{self.name}_images"', self.recall("token"), stored(datetime.now())
        with self._transaction() as cursor:
            rows = cursor.execute(
                f"DELETE FROM {images} WHERE id IN "  # in the same order as in `add`
                f"(SELECT id FROM {images} WHERE {words} ORDER BY path FOR UPDATE) "
                "RETURNING path, state, coalesce(source, ''), coalesce(track, '')",
                values,
            ).fetchall()
            if not rows:
                return 0
            if not keep_crops:
                places = ((self._path(path), source) for path, _, source, _ in rows if source)
                delete_crops(places, self.file)
            keys = [image_key(path, state) for path, state, *_ in rows]
            for source, track in {(s, t) for *_, s, t in rows if s and t}:
                same = f"SELECT 1 FROM {images} WHERE source = %s AND track = %s LIMIT 1"
                if not cursor.execute(same, (source, track)).fetchone():
                    keys.append(track_key(source, track))
            cursor.executemany(
                f'INSERT INTO "{self.name}_barred" VALUES (%s) ON CONFLICT DO NOTHING',
                [(hash_of_key(key, token),) for key in keys],
            )
            cursor.execute(
                f'DELETE FROM "{self.name}_notes" WHERE kind = %s AND name = ANY(%s) '
                f"AND NOT EXISTS (SELECT 1 FROM {images} WHERE source = name)",
                (TRACK_RECORDS, [source for *_, source, _ in rows]),
            )
            told = {"time": now, "asked": str(asked), "images": len(rows)}
            self.remember({f"forgotten {now} {secrets.token_hex(4)}": told})
        log.info(
            "%s: no search finds them any more. Their bytes stay in the server's files until "
            "autovacuum has removed them, or you do: VACUUM %s",
            self.path,
            images,
        )
        return len(rows)

    def forgotten(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return the keys (see forgetting.py) that belong to forgotten images or tracks."""
        hashes = {hash_of_key(key, self.recall("token") or ""): key for key in keys}
        found = self._rows('SELECT hash FROM "{name}_barred" WHERE hash = ANY(%s)', [*hashes])
        return {hashes[each] for (each,) in found}

    def allow(self, keys: Sequence[bytes]) -> None:
        """Allow forgotten images to return."""
        hashes = [hash_of_key(key, self.recall("token") or "") for key in keys]
        self._rows('DELETE FROM "{name}_barred" WHERE hash = ANY(%s)', hashes)

    # --- notes

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store the values whose keys are new, and return the stored values of all given keys."""
        if not self._there():
            self._make()
        with self._transaction() as cursor:
            cursor.executemany(
                f'INSERT INTO "{self.name}_about" VALUES (%s, %s) ON CONFLICT DO NOTHING',
                [(key, json.dumps(value)) for key, value in sorted(values.items())],
            )
        return {key: self.recall(key) for key in values}

    def recall(self, key: str) -> Any:
        """Return the value of a key, or None."""
        found = self._rows('SELECT value FROM "{name}_about" WHERE key = %s', key)
        return parse_json(found[0][0]) if found else None

    def note(self, kind: str, notes: Mapping[str, Any]) -> None:
        """Store notes {name: JSON}; each replaces an earlier note of the same kind and name."""
        self._make()
        with self._transaction() as cursor:
            cursor.executemany(
                f'INSERT INTO "{self.name}_notes" (kind, name, value) VALUES (%s, %s, %s) '
                "ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value, number = DEFAULT",
                [(kind, name, json.dumps(value)) for name, value in sorted(notes.items())],
            )

    def notes(self, kind: str) -> dict[str, Any]:
        """Return the notes of a kind, the latest last."""
        words = 'SELECT name, value FROM "{name}_notes" WHERE kind = %s ORDER BY number'
        return {name: parse_json(value) for name, value in self._rows(words, kind)}

    # --- search

    def search(
        self, queries: npt.NDArray[Any], k: int, *, among: Filter = EVERYTHING
    ) -> list[list[Found]]:
        """Return for each query (Q, D) the k most similar images, nearest first.

        Up to SMALL admitted images are compared one by one. For more images, the graph is searched
        as deeply as the trial of `prepare` found necessary.
        """
        check_count(k)
        words, values = self._condition(among)
        queries = checked_features(queries, self.width(), self.path)
        if not self._there():
            return [[] for _ in queries]
        images = f'FROM "{self.name}_images" WHERE {words}'
        with self._transaction() as cursor:
            known = f"SELECT value FROM \"{self.name}_about\" WHERE key = 'graph'"
            graph = cursor.execute(known).fetchone()
            few = f"SELECT 1 FROM (SELECT 1 {images} OFFSET {SMALL} LIMIT 1) AS more"
            exact = not graph or not cursor.execute(few, values).fetchone()
            effort = max(parse_json(graph[0])["effort"] if graph else 1, min(k, MOST_EFFORT))
            cursor.execute(EFFORT, (str(effort),))
            # With a filter, the search visits more images than it returns: the nearest come late.
            most = k if among == EVERYTHING else max(k, effort // 2)

            def nearest(query: Features, distance: str, most: int) -> list[Any]:
                asked = f"SELECT id, path, {FACTS}, more, {distance} AS distance {images}"
                words = f"SELECT * FROM ({asked} ORDER BY distance LIMIT {most}) AS near "
                ordered = f"{words} ORDER BY distance LIMIT {k}"
                return list(cursor.execute(ordered, (query, *values)).fetchall())

            answers = []
            for query in queries:
                rows = [] if exact else nearest(query, "feature <=> %b", most)
                if len(rows) < k:  # `+ 0` prevents the use of the graph
                    rows = nearest(query, "(feature <=> %b) + 0", k)
                every = ((*self._entry(row), 1 - row[-1]) for row in rows)
                answers.append([Found(path, cosine, about) for path, about, cosine in every])
        return answers

    def prepare(self) -> None:
        """Build the graph if there are enough images; from then on, each addition extends it.

        Other processes can read and write meanwhile. The trial is repeated when the number of
        images has doubled.
        """
        count, width = len(self), self.width()
        known = self.recall("graph")
        if count < GRAPH_FROM or not width or width >= WIDEST_GRAPH:
            return
        if known and count <= 2 * known["images"]:
            return
        with self._explained(), closing(self._connect()) as connection:  # closing frees the lock
            lock = f"SELECT pg_try_advisory_lock(hashtext('{self.name} graph'))"
            if not connection.execute(lock).fetchone()[0]:
                return  # another process is building it
            memory = min(8 << 20, count * (2 * width + GRAPH_BYTES) >> 10)  # kB
            connection.execute(f"SET maintenance_work_mem = {max(memory, 65_536)}")
            if not known:  # a killed process may have left an unfinished graph
                connection.execute(f'DROP INDEX IF EXISTS "{self.name}_graph"')
            connection.execute(GRAPH.format(name=self.name))
            connection.execute(f'ANALYZE "{self.name}_images"')
            self._try_efforts(count)

    def _try_efforts(self, count: int) -> None:
        """Find and remember the lowest effort that finds RECALL of a sample's nearest images."""
        images = f'"{self.name}_images"'
        share = min(100, 300 * SAMPLED / count)
        chosen = self._rows(
            f"SELECT feature FROM {images} TABLESAMPLE BERNOULLI ({share}) LIMIT {SAMPLED}"
        )
        queries = np.stack([feature for (feature,) in chosen])
        chunks = (
            (np.array([row[0] for row in rows]), np.stack([row[-1] for row in rows]))
            for rows in self._read(EVERYTHING, ", feature")
        )
        exact = nearest_of_chunks(queries, chunks, NEIGHBOURS + 1)[1]
        words = f"SELECT id FROM {images} ORDER BY feature <=> %b LIMIT {NEIGHBOURS + 1}"
        for effort in EFFORTS:
            with self._transaction() as cursor:
                cursor.execute(EFFORT, (str(effort),))
                found = [cursor.execute(words, (query,)).fetchall() for query in queries]
            if (recall := overlap(exact, np.array(found)[..., 0])) >= RECALL:
                break
        note = json.dumps({"effort": effort, "recall": recall, "images": count})
        self._rows(
            "INSERT INTO \"{name}_about\" VALUES ('graph', %s) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            note,
        )
        log.info(
            "%s: a search looks at %d images of the graph, recall %.4f of the %d nearest against "
            "exact search",
            self.path,
            effort,
            recall,
            NEIGHBOURS,
        )

    # --- the gallery as a whole

    def unfinished(self) -> Iterator[str]:
        """Yield a sentence for each unfinished index on the server."""
        words = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = to_regclass(%s)"
        for (index,) in self._rows(f"{words} AND NOT indisvalid", f'"{self.name}_images"'):
            yield f"{self.path}: the index {index} is not finished; `search.py index` finishes it"

    @property
    def tools(self) -> str:
        """Advice on the tools that copy and check the gallery."""
        return (
            f"copy it by pg_dump --table '{self.name}_*' '{self.place}' >FILE, "
            "and check the server's own files by pg_amcheck"
        )

    def remove(self) -> None:
        """Delete the tables."""
        tables = ", ".join(f'"{{name}}_{each}"' for each in ("images", "about", "notes", "barred"))
        self._rows(f"DROP TABLE IF EXISTS {tables}")
        self._made = False

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
