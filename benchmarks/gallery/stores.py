"""The search index and two embedded vector databases behind one interface.

benchmarks/gallery/engines.py compares them.

An engine adds (paths, features, abouts), builds its lists, and searches for the NEIGHBOURS nearest
images, among all or among those that FILTER admits. A search visits `effort` parts of the lists, or
is exact if `effort` is None.
"""

from typing import Any

from benchmarks.gallery.search import FILTERS, NEIGHBOURS
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import EVERYTHING

FILTER = FILTERS["one camera, ten days"]
WORDS = f'camera = "{FILTER.camera}" and time >= "{FILTER.after}" and time < "{FILTER.before}"'


class Ours:
    """The index of tools/search.py."""

    module = "faiss"
    efforts = (0,)  # it chooses the effort itself

    def __init__(self, folder, dimension):
        self.index = SearchIndex(folder / "people.index")

    def add(self, paths, features, abouts):
        self.index.add(paths, features, dict(zip(paths, abouts, strict=True)))

    def build(self):
        self.index.prepare()

    def search(self, query, effort, among):
        found = self.index.search(
            query[None], NEIGHBOURS, effort is None, FILTER if among else EVERYTHING
        )[0]
        return [str(match.path) for match in found]

    def __len__(self):
        return len(self.index)


class LanceDB:
    """Lance files, with IVF_FLAT and an index of each column."""

    module = "lancedb"
    efforts = (4, 8, 16, 32, 64, 128, 256)

    def __init__(self, folder, dimension):
        import lancedb
        import pyarrow as pa

        text, vector = pa.string(), pa.list_(pa.float32(), dimension)
        self.schema = pa.schema({"path": text, "camera": text, "time": text, "vector": vector})
        self.table = lancedb.connect(folder).create_table(
            "people", schema=self.schema, exist_ok=True
        )

    def add(self, paths, features, abouts):
        import pyarrow as pa

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
        columns = [
            paths,
            [about.camera for about in abouts],
            [about.time for about in abouts],
            vectors,
        ]
        self.table.add(pa.table(columns, schema=self.schema))

    def build(self):
        from lancedb.index import Bitmap, BTree, IvfFlat

        self.table.optimize()
        self.table.create_index("vector", config=IvfFlat(distance_type="dot"))
        self.table.create_index("camera", config=Bitmap())
        self.table.create_index("time", config=BTree())

    def search(self, query, effort, among):
        asked = self.table.search(query).distance_type("dot").select(["path"]).limit(NEIGHBOURS)
        asked = asked.where(WORDS.replace('"', "'")) if among else asked
        asked = asked.bypass_vector_index() if effort is None else asked.nprobes(effort)
        return asked.to_arrow()["path"].to_pylist()

    def __len__(self):
        return self.table.count_rows()


class Qdrant:
    """The client of Qdrant with a local folder, which compares a query with all vectors."""

    module = "qdrant_client"
    efforts = (0,)

    def __init__(self, folder, dimension):
        from qdrant_client import QdrantClient, models

        self.client, self.models = QdrantClient(path=str(folder / "people")), models
        if not self.client.collection_exists("people"):
            vectors = models.VectorParams(size=dimension, distance=models.Distance.DOT)
            self.client.create_collection("people", vectors)

    def add(self, paths, features, abouts):
        payload = [
            {"path": path, **about._asdict()} for path, about in zip(paths, abouts, strict=True)
        ]
        numbers = [int(path.split(".")[0]) for path in paths]
        self.client.upload_collection("people", features, payload, numbers)

    def build(self):
        pass

    def search(self, query, effort, among):
        models = self.models
        period = models.DatetimeRange(gte=FILTER.after, lt=FILTER.before)
        camera = models.FieldCondition(key="camera", match=models.MatchValue(value=FILTER.camera))
        which = (
            models.Filter(must=[camera, models.FieldCondition(key="time", range=period)])
            if among
            else None
        )
        found = self.client.query_points(
            "people", query=query, query_filter=which, limit=NEIGHBOURS
        )
        return [point.payload["path"] for point in found.points]

    def __len__(self):
        return self.client.count("people").count


ENGINES: dict[str, Any] = {
    "person_reid": Ours,
    "lancedb": LanceDB,
    "qdrant": Qdrant,
}
