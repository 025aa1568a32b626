"""A server of Milvus by its address, and what its errors mean to the user.

    server = MilvusServer("milvus://localhost:19530/people")
    server.ask(server.client.list_collections)

| address | where |
| --- | --- |
| `milvus://localhost:19530/people` | on this machine |
| `milvus+tls://milvus.example:19530/people` | anywhere, encrypted |
| `milvus+insecure://milvus.example:19530/people` | anywhere, readable for all on the way |
| `milvus:///home/anna/people.db/people` | a file, by Milvus Lite |

The environment variable MILVUS_TOKEN may hold a token, or USER:PASSWORD, and MILVUS_CERTIFICATE the
file of a certificate that no authority known to the system has signed.
"""

import ipaddress
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from person_reid.errors import UserError, optional_module

SCHEMES = ("milvus", "milvus+tls", "milvus+insecure")
LONGEST_TEXT_BYTES = 65_535  # bytes of a text in Milvus


class MilvusServer:
    """The connection to the server at an address, and the name of the gallery there.

    Every method raises UserError if Milvus cannot be reached or refuses.
    """

    def __init__(self, address: str) -> None:
        self.path = address
        parts = urlsplit(address)
        place, _, self.name = f"{parts.netloc}{parts.path}".rpartition("/")
        if not (place and self.name.isidentifier()):
            raise UserError(
                f"{address}: expected milvus://HOST:PORT/NAME, "
                "such as milvus://localhost:19530/people."
            )
        milvus = optional_module(
            "pymilvus",
            UserError(f'{address}: needs Milvus: python -m pip install ".[milvus]"'),
        )
        self.served = bool(parts.netloc)
        secure = parts.scheme == "milvus+tls"
        uri = f"http{'s' * secure}://{place}" if self.served else place
        more = {"secure": True, **_certificate()} if secure else {}
        self.client: Any = self.ask(milvus.MilvusClient, uri, token=_token(address, parts), **more)

    def ask(self, work: Callable[..., Any], *given: Any, **settings: Any) -> Any:
        """Return what a function of Milvus's client returns. Its errors become a UserError."""
        from pymilvus import MilvusException

        try:
            return work(*given, **settings)
        except MilvusException as error:
            advice = "Check that Milvus runs there: https://milvus.io/docs"
            if not self.served and "Open local milvus failed" in error.message:
                advice = "Is it open in another process? Milvus Lite is for one at a time."
            raise UserError(f"{self.path}: {error.message}. {advice}") from error

    def exists(self, collection: str) -> bool:
        """Return whether the server has a collection of that name."""
        return bool(self.ask(self.client.has_collection, collection))

    def columns(self, collection: str) -> list[dict[str, Any]]:
        """Return what Milvus tells about each field of a collection."""
        return list(self.ask(self.client.describe_collection, collection)["fields"])

    def load(self, collection: str) -> None:
        """Load a collection that exists, so that it answers: another process may have made it."""
        if self.exists(collection):
            self.ask(self.client.load_collection, collection)

    def query(self, collection: str, condition: str, columns: list[str]) -> list[dict[str, Any]]:
        """Return the columns of the rows of a collection that fulfil a condition."""
        found = self.ask(self.client.query, collection, filter=condition, output_fields=columns)
        return list(found)

    def create(
        self,
        collection: str,
        texts: Mapping[str, dict[str, Any]],
        feature: tuple[Any, int],
        index: Mapping[str, Any],
        shards: int,
        objects: Sequence[str] = (),
    ) -> None:
        """Create a collection of texts with a feature each, unless another process is faster.

        Its consistency is strong: what was added is found at once. Values stay on the disk, mapped
        into memory. Rows are also found by the nullable texts.

        texts: {name: settings}. feature: its type and width. index: the settings of its index.
        objects: names of fields of JSON, which may be null.
        """
        from pymilvus import DataType

        schema, indexes = self.client.create_schema(), self.client.prepare_index_params()
        for name, how in texts.items():
            schema.add_field(
                name, DataType.VARCHAR, max_length=LONGEST_TEXT_BYTES, mmap_enabled=True, **how
            )
            if how.get("nullable"):
                indexes.add_index(name, index_type="INVERTED")
        for name in objects:
            schema.add_field(name, DataType.JSON, nullable=True, mmap_enabled=True)
        kind, width = feature
        schema.add_field("feature", kind, dim=width, mmap_enabled=True)
        indexes.add_index("feature", metric_type="IP", **index)
        try:
            self.ask(
                self.client.create_collection,
                collection,
                schema=schema,
                index_params=indexes,
                consistency_level="Strong",
                num_shards=shards,
            )
        except UserError:
            if not self.exists(collection):
                raise
            self.load(collection)


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine itself, where nobody is on the way."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _token(address: str, parts: SplitResult) -> str:
    """Return the token for an address. Raises UserError if somebody could read it on the way."""
    token, host = os.environ.get("MILVUS_TOKEN", ""), parts.hostname or ""
    if parts.username is not None:
        raise UserError(
            f"{parts.scheme}://…@{host}: an address is printed and kept. Give user and password in "
            "the environment: MILVUS_TOKEN=USER:PASSWORD"
        )
    if token and parts.scheme == "milvus" and host and not is_this_machine(host):
        rest = address.partition(":")[2]
        raise UserError(
            f"{address}: anybody on the way could read MILVUS_TOKEN. Encrypt it: "
            f"milvus+tls:{rest}. If nobody can listen there: milvus+insecure:{rest}"
        )
    return token


def _certificate() -> dict[str, str]:
    """Return the setting for the certificate that the environment names, if it names one."""
    file = os.environ.get("MILVUS_CERTIFICATE", "")
    if file and not Path(file).is_file():
        raise UserError(f"MILVUS_CERTIFICATE={file}: no such file.")
    return {"server_pem_path": file} if file else {}
