"""A gallery in PostgreSQL with pgvector that several machines can write to and search.

    gallery = PostgresGallery("postgresql://anna@db.example/shop/people?crops=/mnt/crops")

The address is a libpq address, with the gallery's name after the database: here, `people`, whose
tables in `shop` are `people_images` and `people_notes`. `crops` names a folder that all machines
share. Paths below it are stored relative to it, so each machine can mount it elsewhere. The gallery
remembers the first folder given. Passwords come from where libpq usually finds them, such as
PGPASSWORD or ~/.pgpass; `sslmode` controls TLS. Each method is one transaction.
"""

import json
import logging
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from person_reid.config.times import stored
from person_reid.errors import StoreAway, StoreError, UserError, first_line, optional_module
from person_reid.files import real
from person_reid.gallery.checks import (
    SAME_PICTURE,
    check_count,
    check_version,
    checked_features,
    checked_paths,
    known_of,
    log_stripped,
    state_of,
)
from person_reid.gallery.contract import DECISIONS, TRACK_RECORDS, Gallery, Image
from person_reid.gallery.database import BUSY
from person_reid.gallery.forgetting import CROPS, hash_of_key, image_key, track_key
from person_reid.gallery.index_folder import IndexFolder, delete_crops
from person_reid.gallery.metadata import EVERYTHING, FACT_NAMES, About, Filter, Found, fact_name
from person_reid.retrieval.neighbours import overlap
from person_reid.retrieval.similarity import Features
from person_reid.text import parse_json

log = logging.getLogger(__name__)
VERSION = 1
PGVECTOR = 0, 8, 4  # the earliest version that works
AT_ONCE = 5000  # images per answer from the server
SMALL = 10_000  # up to this many images are compared one by one, even if there is a graph
GRAPH_FROM = 20_000  # images from which there is a graph
WIDEST_GRAPH = 4000  # the largest dimension of a halfvec in a graph of pgvector
LINKS, CONSTRUCTION = 24, 200  # links per image in the graph, and images compared to find them
GRAPH_BYTES = 2 * 16 * LINKS + 400  # memory per image while it is built, besides the feature
LEAST_MEMORY, MOST_MEMORY = 64 << 10, 8 << 20  # kB
RECALL, NEIGHBOURS, SAMPLED = 0.98, 10, 100  # a trial's goal, neighbours and images
EFFORTS = (40, 80, 160, 320, 640, MOST_EFFORT := 1000)  # images that a search visits
EFFORT = (
    "SELECT set_config('hnsw.ef_search', %s, true), "
    "set_config('hnsw.iterative_scan', 'relaxed_order', true)"
)
SETTINGS = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "application_name": "person-reid",
    "client_encoding": "utf8",  # PostgreSQL sends bytes from a database without an encoding
}
LOCK_TIMEOUT = (
    "SELECT set_config('lock_timeout', %s, false) WHERE current_setting('lock_timeout') = '0'"
)
EXTENSION = """
SELECT extversion, quote_ident(nspname), nspname = ANY(current_schemas(true))
FROM pg_extension JOIN pg_namespace AS schema ON schema.oid = extnamespace
WHERE extname = 'vector'
"""
SEARCH_PATH = (
    "SELECT set_config('search_path', "
    "concat_ws(', ', nullif(current_setting('search_path'), ''), %s::text), false)"
)
LONGEST_NAME = 63 - len("_identity")  # bytes; PostgreSQL cuts longer names of tables and indexes
ABOUT, BARRED, TRIAL = "about", "barred", "trial"  # kinds of notes, besides those of the contract
FACTS = ", ".join(FACT_NAMES)
TEXT = 'text COLLATE "C"'  # sorted as SQLite and Python do
NOTES = f"""
CREATE TABLE IF NOT EXISTS "{{name}}_notes" (
    number bigint GENERATED ALWAYS AS IDENTITY, kind {TEXT}, name {TEXT}, value text NOT NULL,
    PRIMARY KEY (kind, name));
INSERT INTO "{{name}}_notes" (kind, name, value) VALUES ('{ABOUT}', 'version', '{{version}}')
ON CONFLICT DO NOTHING;
"""
IMAGES = f"""
CREATE TABLE IF NOT EXISTS "{{name}}_images" (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path bytea UNIQUE NOT NULL, state text NOT NULL, feature halfvec({{width}}) NOT NULL,
    {", ".join(f"{each} {TEXT}" for each in FACT_NAMES)}, more jsonb
) WITH (toast_tuple_target = 8160);  -- features stay in their rows, if a page can hold them: faster
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
    SELECT DISTINCT ON (path) {COLUMNS} FROM unnest(%b::bytea[], %b::text[], %b::halfvec[],
    {"%b::text[], " * len(FACT_NAMES)}%b::jsonb[]) WITH ORDINALITY AS a ({COLUMNS}, number)
    ORDER BY path, number DESC  -- of an image that is given twice, the last row; all writers sort
), stripped AS (
    SELECT count(*) FROM added JOIN "{{name}}_images" AS old USING (path)
    WHERE old.feature <=> added.feature > {1 - SAME_PICTURE}
    AND concat(old.identity, old.track) > ''
), written AS (
    INSERT INTO "{{name}}_images" AS old ({COLUMNS}) SELECT {COLUMNS} FROM added
    ON CONFLICT (path) DO UPDATE SET {", ".join(f"{name} = {how}" for name, how in KEPT.items())}
) SELECT count FROM stripped
"""
NOTE = """
INSERT INTO "{name}_notes" (kind, name, value) VALUES (%s, %s, %s)
ON CONFLICT (kind, name) DO {conflict}
"""
PAIRS = f"""
SELECT feature, (
    SELECT feature FROM "{{name}}_images"
    WHERE id != sample.id ORDER BY feature <=> sample.feature LIMIT 1
) FROM (
    SELECT id, feature FROM "{{name}}_images" TABLESAMPLE BERNOULLI ({{percent}})
    ORDER BY random() LIMIT {SAMPLED}
) AS sample
"""
DESCRIBE = f"""
UPDATE "{{name}}_images" SET {", ".join(f"{each} = coalesce(%s, {each})" for each in FACT_NAMES)},
more = nullif(coalesce(more, '{{{{}}}}') || coalesce(%s::jsonb, '{{{{}}}}'), '{{{{}}}}')
WHERE path = %s
"""


class NoTables(StoreError):
    """The gallery is new: nothing has been stored yet."""


class PostgresGallery(Gallery):
    """The gallery at postgresql://HOST/DATABASE/NAME; it need not exist."""

    path, new = "", True
    file: Path | None = None
    _depth = 0  # of the current transaction: how many others contain it

    def __init__(self, address: str) -> None:
        scheme, _, rest = address.partition("://")
        # urlsplit does not recognise a password that contains / ? # or [
        if ":" in rest.rpartition("@")[0] or re.search(r"[?&](ssl)?password=", rest):
            raise UserError(
                f"{scheme}://…: addresses are printed and stored. Give the password in PGPASSWORD "
                "or ~/.pgpass, and write an @ elsewhere in the address as %40."
            )
        try:
            parts = urlsplit(address)
        except ValueError as error:  # an unpaired bracket
            raise UserError(f"{address}: {error}.") from None
        settings = dict(parse_qsl(parts.query))
        place, _, self.name = parts.path.rpartition("/")
        fits = self.name.isidentifier() and len(self.name.encode()) <= LONGEST_NAME
        if not (place.strip("/") and fits):
            raise UserError(
                f"{address}: expected postgresql://HOST/DATABASE/NAME, with a NAME of letters, "
                f"digits and _, of at most {LONGEST_NAME} bytes in UTF-8."
            )
        self.path, self._connections = address, WeakSet[Any]()
        missing = UserError(f'{address}: needs psycopg: python -m pip install ".[postgres]"')
        self.pgvector = optional_module("pgvector.psycopg", missing)
        self.psycopg = optional_module("psycopg", missing)
        self.vector = optional_module("pgvector", missing).HalfVector
        folder = settings.pop("crops", None)
        self.place = urlunsplit(parts._replace(path=place, query=urlencode(settings)))
        with self._explained():
            self._connection = self._connect()
        self.new = self.width() is None
        self.folder = IndexFolder(None)
        check_version(address, self.recall("version") or 1, VERSION)
        if folder := folder or self.recall("crops"):
            self.file = real(folder) / self.name
            self.folder = IndexFolder(self.file)

    # --- the server

    def _connect(self) -> Any:
        """Return a new connection. Raises UserError if the server's pgvector is too old."""
        given = SETTINGS | self.psycopg.conninfo.conninfo_to_dict(self.place)
        connection = self.psycopg.connect(**given, autocommit=True, prepare_threshold=None)
        self._connections.add(connection)
        connection.execute(LOCK_TIMEOUT, (f"{BUSY}s",))
        while not (extension := connection.execute(EXTENSION).fetchone()):
            with suppress(self.psycopg.errors.UniqueViolation):  # another process has created it
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        version, schema, in_path = extension
        if tuple(map(int, version.split("."))) < PGVECTOR:
            raise UserError(
                f"{self.path}: pgvector {version}; needs {'.'.join(map(str, PGVECTOR))} or newer: "
                "before it, additions beside VACUUM could damage the graph."
            )
        if not in_path:
            connection.execute(SEARCH_PATH, (schema,))
        self.pgvector.register_vector(connection)
        connection.adapters.register_dumper(dict, self.psycopg.types.json.JsonbBinaryDumper)
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Yield a cursor. If the server reports an error, write nothing and raise StoreError.

        If the connection was lost since the last call, this call uses a new one.
        """
        with self._explained(), ExitStack() as stack:
            try:
                stack.enter_context(self._connection.transaction())
            except self.psycopg.OperationalError:
                if self._depth:  # a new connection would not undo what the lost one undid
                    raise
                self._connection = self._connect()
                stack.enter_context(self._connection.transaction())
            self._depth += 1
            try:
                yield stack.enter_context(self._connection.cursor(binary=True))
            finally:
                self._depth -= 1

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (self.psycopg.Error, UnicodeError) as error:
            away = isinstance(error, self.psycopg.OperationalError)
            new = isinstance(error, self.psycopg.errors.UndefinedTable)
            kind = NoTables if new else StoreAway if away else StoreError
            raise kind(f"{self.path}: {first_line(error, 300)}") from error

    def _rows(self, words: str, *values: Any) -> list[Any]:
        """Return a command's rows, or none for a new gallery. {name}: the gallery's name."""
        with suppress(NoTables), self._transaction() as cursor:
            cursor.execute(words.format(name=self.name), values or None)
            return list(cursor.fetchall()) if cursor.description else []
        return []

    def _make(self, width: int | None = None) -> None:
        """Create the missing tables: for notes and, if a `width` is given, for images."""
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('person-reid'))")
            if width and self.width():
                return  # creating its indexes again would wait for its writers, and they for us
            for tables in (NOTES, IMAGES) if width else (NOTES,):
                words = tables.format(name=self.name, version=VERSION, width=width)
                self._connection.execute(words)
            crops = self.file and str(self.file.parent)
            self.remember({"token": secrets.token_hex(4), "crops": crops})

    # --- reading

    def __len__(self) -> int:
        return sum(count for (count,) in self._rows('SELECT count(*) FROM "{name}_images"'))

    def width(self) -> int | None:
        """Return the dimension of the features, or None before the first addition."""
        found = self._rows(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass(%s) "
            "AND attname = 'feature'",
            f'"{self.name}_images"',
        )
        return int(found[0][0]) if found else None

    def _entry(self, row: Sequence[Any]) -> tuple[Path, About]:
        """Return the image in a row (id, path, facts..., more, ...), and its facts."""
        return self.folder.path(row[1]), About(*row[2 : 3 + len(FACT_NAMES)])

    def _condition(self, which: Filter) -> tuple[str, list[Any]]:
        """Return a filter as an SQL condition, and the values in it."""
        words, values = which.condition("%s", "more @> jsonb_build_object(%s::text, %s::text)")
        return words, self.folder.stored_values(values)

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that the gallery lacks or whose files have changed since being added."""
        paths = checked_paths(paths, self.path)
        keys = [*map(self.folder.stored, paths)]
        words = 'SELECT path, state FROM "{name}_images" WHERE path = ANY(%s)'
        states = dict(self._rows(words, keys))
        return [p for p, key in zip(paths, keys, strict=True) if states.get(key) != state_of(p)]

    def _read(self, which: Filter, columns: str = "", after: int = 0) -> Iterator[list[Any]]:
        """Yield chunks of (id, path, facts..., more, columns...) in order of id, above `after`."""
        words, values = self._condition(which)
        while rows := self._rows(
            f'SELECT id, path, {FACTS}, more{columns} FROM "{{name}}_images" '
            f"WHERE {words} AND id > %s ORDER BY id LIMIT {AT_ONCE}",
            *values,
            after,
        ):
            yield rows
            after = rows[-1][0]

    def entries(
        self, which: Filter = EVERYTHING
    ) -> Iterator[tuple[list[tuple[Path, About]], Features]]:
        """Yield the images and their features (n, D), in chunks."""
        for rows in self._read(which, ", feature"):
            features = np.stack([row[-1].to_numpy() for row in rows]).astype(np.float32)
            yield [*map(self._entry, rows)], features

    def images(self, which: Filter = EVERYTHING) -> Iterator[list[Image]]:
        """Yield the images in chunks, without features."""
        return ([*map(self._entry, rows)] for rows in self._read(which))

    def listed(self, which: Filter = EVERYTHING, after: str = "") -> Iterator[tuple[str, Image]]:
        """Yield the images in order of addition, each with a key; see ReadGallery.listed."""
        chunks = self._read(which, after=int(after or 0))
        return ((str(row[0]), self._entry(row)) for rows in chunks for row in rows)

    def values(self, name: str) -> list[str]:
        """Return the distinct values of the column `name`, in alphabetical order."""
        words = f"SELECT DISTINCT {fact_name(name)} FROM \"{{name}}_images\" WHERE {name} > ''"
        return sorted(value for (value,) in self._rows(words))

    # --- changes

    def add(
        self,
        paths: Sequence[str | Path],
        features: npt.NDArray[Any],
        abouts: Mapping[Any, About] | None = None,
        states: Sequence[str] | None = None,
    ) -> None:
        """Add or replace all N images or none; see SearchIndex.add."""
        paths = checked_paths(paths, f"{self.path}: not added")
        features = checked_features(features, width := self.width(), self.path, paths)
        if not paths:
            return
        if width is None:
            self._make(features.shape[1])
        columns = (
            map(self.folder.stored, paths),
            states or map(state_of, paths),
            map(self.vector, features),
            *zip(*known_of(abouts or {}, paths), strict=True),
        )
        with self._transaction() as cursor:
            cursor.execute(ADD.format(name=self.name), [*map(list, columns)])
            (stripped,) = cursor.fetchone()
        log_stripped(self.path, stripped)

    def describe(self, abouts: Mapping[Any, About]) -> int:
        """Record facts about images in the gallery, and return the number of images."""
        keys = map(self.folder.stored, checked_paths([*abouts], self.path))
        known = zip(known_of(abouts, abouts), keys, strict=True)
        rows = sorted(((*about, key) for about, key in known), key=itemgetter(-1))
        with suppress(NoTables), self._transaction() as cursor:
            cursor.executemany(DESCRIBE.format(name=self.name), rows)
            return int(cursor.rowcount)
        return 0

    def forget(self, which: Filter, asked: str, keep_crops: bool = False) -> int:
        """Delete images, so that no search finds them again; see SearchIndex.forget.

        Their bytes stay in the server's files until VACUUM runs, as the log explains.
        """
        words, values = self._condition(which)
        if self.width() is None:
            return 0
        images = f'"{self.name}_images"'
        with self._transaction() as cursor:
            # one at a time: of two calls, the second then sees that a source has no images left
            cursor.execute(f"SELECT pg_advisory_xact_lock(hashtext('{self.name} forget'))")
            rows = cursor.execute(
                f"DELETE FROM {images} WHERE id IN "  # in the same order as in `add`
                f"(SELECT id FROM {images} WHERE {words} ORDER BY path FOR UPDATE) "
                "RETURNING path, state, coalesce(source, ''), coalesce(track, '')",
                values,
            ).fetchall()
            if rows:
                self._bar(cursor, rows, asked)
            if not keep_crops:
                self.note(CROPS, {path.hex(): source for path, _, source, _ in rows if source})
        self._delete_noted_crops()
        if not rows:
            return 0
        log.info(
            "%s: no search finds them any more. Their bytes stay in the server's files until "
            "autovacuum has removed them, or you do: VACUUM %s",
            self.path,
            images,
        )
        return len(rows)

    def _bar(self, cursor: Any, rows: Sequence[tuple[bytes, str, str, str]], asked: str) -> None:
        """Note that images (path, state, source, track) and their last tracks are forgotten."""
        tracks = {(source, track) for *_, source, track in rows}
        sources = {source for source, _ in tracks}
        words = f'SELECT DISTINCT source, track FROM "{self.name}_images" WHERE source = ANY(%s)'
        remaining = {*cursor.execute(words, ([*sources],))}
        keys = [image_key(path, state) for path, state, *_ in rows]
        keys += [track_key(*track) for track in tracks - remaining if all(track)]
        self.note(BARRED, dict.fromkeys(self._hashes(keys)))
        forgotten_sources = sources - {source for source, _ in remaining}
        self._drop(TRACK_RECORDS, forgotten_sources)
        tracks_named = self.notes(DECISIONS)
        self._drop(
            DECISIONS,
            (name for name in tracks_named if name.rpartition("/")[0] in forgotten_sources),
        )
        details = {"asked": str(asked), "images": len(rows)}
        self.note("forgotten", {f"{stored(datetime.now())} {secrets.token_hex(4)}": details})

    def _delete_noted_crops(self) -> None:
        """Delete the noted crops, also those of interrupted calls, unless they were added again."""
        if noted := self.notes(CROPS):
            crops = {self.folder.path(bytes.fromhex(key)): noted[key] for key in noted}
            gone = crops.keys() - self.abouts([*crops]).keys()
            delete_crops(((path, crops[path]) for path in gone), self.file, self.owner)
            self._drop(CROPS, noted)

    def _hashes(self, keys: Iterable[bytes]) -> dict[str, bytes]:
        """Return {name of a key's note: key} for keys (see forgetting.py) of images or tracks."""
        token = self.recall("token") or ""
        return {hash_of_key(key, token).hex(): key for key in keys}

    def forgotten(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return the `keys` (see forgetting.py) that belong to forgotten images or tracks."""
        hashes = self._hashes(keys)
        words = 'SELECT name FROM "{name}_notes" WHERE kind = %s AND name = ANY(%s)'
        return {hashes[name] for (name,) in self._rows(words, BARRED, [*hashes])}

    def allow(self, keys: Sequence[bytes]) -> None:
        """Allow forgotten images to be added again."""
        self._drop(BARRED, self._hashes(keys))

    def _drop(self, kind: str, names: Iterable[str]) -> None:
        """Delete the notes of a kind that have these names."""
        self._rows('DELETE FROM "{name}_notes" WHERE kind = %s AND name = ANY(%s)', kind, [*names])

    # --- notes

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store the values whose keys are new, and return the stored values of all given keys."""
        self._write(ABOUT, values, "NOTHING")
        return {key: self.recall(key) for key in values}

    def recall(self, key: str) -> Any:
        """Return the value stored under a key, or None."""
        return self.notes(ABOUT, key).get(key)

    def note(self, kind: str, notes: Mapping[str, Any]) -> None:
        """Store notes {name: JSON}; each replaces an earlier note of the same kind and name."""
        self._write(kind, notes, "UPDATE SET value = excluded.value, number = DEFAULT")

    def _write(self, kind: str, notes: Mapping[str, Any], conflict: str) -> None:
        if self.recall("version") is None:
            self._make()
        with self._transaction() as cursor:
            cursor.executemany(
                NOTE.format(name=self.name, conflict=conflict),
                [
                    (kind, name, json.dumps(self.folder.stored_value(value)))
                    for name, value in sorted(notes.items())  # all writers sort
                ],
            )

    def notes(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """Return the notes of one kind, oldest first, or only the note with this name."""
        words = 'SELECT name, value FROM "{name}_notes" WHERE kind = %s'
        rows = self._rows(f"{words} AND name = coalesce(%s, name) ORDER BY number", kind, name)
        return {name: self.folder.value(parse_json(value)) for name, value in rows}

    # --- search

    def search(
        self, queries: npt.NDArray[Any], k: int, *, among: Filter = EVERYTHING
    ) -> list[list[Found]]:
        """Return the k images most similar to each query (Q, D), nearest first.

        Up to SMALL admitted images are compared one by one. For more images, the graph is searched
        as deeply as the trial in `prepare` found necessary.
        """
        check_count(k)
        words, values = self._condition(among)
        queries = checked_features(queries, width := self.width(), self.path)
        if width is None:
            return [[] for _ in queries]
        trial = self.notes(TRIAL).get(TRIAL)
        few = f'SELECT 1 FROM "{{name}}_images" WHERE {words} OFFSET {SMALL} LIMIT 1'
        effort = max(trial["effort"], k) if trial and self._rows(few, *values) else 0
        answers = []
        with self._transaction() as cursor:
            for query in map(self.vector, queries):
                rows = self._nearest(cursor, query, k, among, effort) if effort else []
                if len(rows) < k:
                    rows = self._nearest(cursor, query, k, among)
                every = ((*self._entry(row), 1 - row[-1]) for row in rows)
                answers.append([Found(path, cosine, about) for path, about, cosine in every])
        return answers

    def _nearest(
        self, cursor: Any, query: Any, k: int, among: Filter = EVERYTHING, effort: int = 0
    ) -> list[Any]:
        """Return (id, path, facts..., more, distance) for the k images nearest to a query.

        effort: how many images in the graph to visit, or 0 to compare all images.
        """
        words, values = self._condition(among)
        # With a filter, the search visits more images than it returns: the nearest come late.
        most = k if among == EVERYTHING else max(k, effort // 2)
        distance = "feature <=> %s" if effort else "(feature <=> %s) + 0"  # without the graph
        cursor.execute(EFFORT, (str(min(max(effort, 1), MOST_EFFORT)),))
        asked = f'SELECT id, path, {FACTS}, more, {distance} AS distance FROM "{self.name}_images"'
        words = f"SELECT * FROM ({asked} WHERE {words} ORDER BY distance LIMIT {most}) AS near "
        return list(cursor.execute(f"{words} ORDER BY distance LIMIT {k}", (query, *values)))

    def prepare(self) -> None:
        """Build the graph if there are enough images; from then on, each addition extends it.

        Other processes can read and write meanwhile. The trial that chooses the effort of a search
        is repeated when the number of images has doubled.
        """
        count, width = len(self), self.width() or WIDEST_GRAPH
        trial = self.notes(TRIAL).get(TRIAL)
        if width >= WIDEST_GRAPH or count < (2 * trial["images"] if trial else GRAPH_FROM):
            return
        with self._explained(), closing(self._connect()) as connection:  # closing frees the lock
            lock = f"SELECT pg_try_advisory_lock(hashtext('{self.name} graph'))"
            if not connection.execute(lock).fetchone()[0]:
                return  # another process is building it
            memory = max(LEAST_MEMORY, count * (2 * width + GRAPH_BYTES) >> 10)
            settings = f"SET maintenance_work_mem = {min(memory, MOST_MEMORY)}"
            connection.execute(f"{settings}; SET lock_timeout = 0")  # it waits for all writers
            if not trial:  # a killed process may have left an unfinished graph
                connection.execute(f'DROP INDEX IF EXISTS "{self.name}_graph"')
            connection.execute(GRAPH.format(name=self.name))
            connection.execute(f'ANALYZE "{self.name}_images"')
            self._try_efforts(count)

    def _try_efforts(self, count: int) -> None:
        """Find and remember the lowest effort that finds RECALL of a sample's nearest images.

        The images of later queries are new. Stand-ins for them are images of the gallery, each
        changed by the difference between another image and its nearest neighbour: two images of a
        person differ √2 times as much as each of them from their mean.
        """
        percent = min(100, 300 * SAMPLED / count)
        with self._transaction() as cursor:
            pairs = cursor.execute(PAIRS.format(name=self.name, percent=percent)).fetchall()
            images, neighbours = (
                np.array([feature.to_numpy() for feature in column])
                for column in zip(*pairs, strict=True)
            )
            moved = images + np.roll(images - neighbours, 1, axis=0) / 2**0.5
            queries = [*map(self.vector, moved)]

            def nearest(effort: int) -> npt.NDArray[np.int64]:
                found = (self._nearest(cursor, q, NEIGHBOURS, effort=effort) for q in queries)
                return np.array([[row[0] for row in rows] for rows in found])

            exact = nearest(0)
            for effort in EFFORTS:
                if (recall := overlap(exact, nearest(effort))) >= RECALL:
                    break
            self.note(TRIAL, {TRIAL: {"effort": effort, "recall": recall, "images": count}})
        log.info(
            "%s: a search looks at %d images of the graph, recall %.4f of the %d nearest against "
            "exact search",
            self.path,
            effort,
            recall,
            NEIGHBOURS,
        )

    # --- the gallery as a whole

    @property
    def owner(self) -> str:
        """The server and the database of the gallery."""
        words = "SELECT system_identifier || current_database() FROM pg_control_system()"
        return str(self._rows(words)[0][0])

    @property
    def tools(self) -> str:
        """Advice on the tools for copying and checking the gallery."""
        return (
            f"copy it by pg_dump --table '{self.name}_*' '{self.place}' >FILE, "
            "and check the server's own files by pg_amcheck"
        )

    def interrupt(self) -> None:
        """Cancel the commands that other threads wait for."""
        for connection in [*self._connections]:
            connection.cancel()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
