"""Ids of images that reveal nothing about their paths.

    ids = ImageIds(secret_of(gallery))
    ids.of(Path("/home/anna/crops/0001.jpg"))       # "oPZ3n…"
    ids.path("oPZ3n…")                              # the path again, or None

An id is the encrypted path, so ids need no list, and an id never means another image. The path's
authentication tag, which only the key can produce, is also the initialisation vector of the
encryption, so an image always has the same id. Rogaway and Shrimpton, A Provable-Security Treatment
of the Key-Wrap Problem (SIV), EUROCRYPT 2006.
"""

import base64
import hmac
import logging
import os
import secrets
from hashlib import blake2b, sha256, shake_256
from pathlib import Path

from person_reid.errors import UserError
from person_reid.gallery.gallery import Gallery

log = logging.getLogger(__name__)

ID_SECRET = "secret of ids"  # the key of a note in the gallery
SEAL_BYTES = 16
PADDED_BYTES = 64  # an id reveals the length of a path only in units of this many bytes


class ImageIds:
    """The ids of a gallery's images. secret: known only to the service."""

    def __init__(self, secret: str) -> None:
        self._key = sha256(secret.encode()).digest()

    def of(self, path: str | Path) -> str:
        """Return the id of an image."""
        text = os.fsencode(path)
        text += bytes(-len(text) % PADDED_BYTES)  # no path contains zero bytes
        seal = self._seal(text)
        return base64.urlsafe_b64encode(seal + self._masked(seal, text)).decode().rstrip("=")

    def path(self, image_id: str) -> Path | None:
        """Return the path of the image with the id `image_id`, or None if no image ever had it."""
        try:
            padded = image_id + "=" * (-len(image_id) % 4)
            content = base64.b64decode(padded, b"-_", validate=True)
        except ValueError:
            return None
        seal, masked = content[:SEAL_BYTES], content[SEAL_BYTES:]
        text = self._masked(seal, masked)
        if not hmac.compare_digest(seal, self._seal(text)):
            return None
        return Path(os.fsdecode(text.rstrip(b"\0")))

    def _seal(self, text: bytes) -> bytes:
        return blake2b(text, digest_size=SEAL_BYTES, key=self._key).digest()

    def _masked(self, seal: bytes, text: bytes) -> bytes:
        """Return text combined with the key stream of its tag; a second call undoes this."""
        stream = shake_256(self._key + seal).digest(len(text))
        both = int.from_bytes(text, "big") ^ int.from_bytes(stream, "big")
        return both.to_bytes(len(text), "big")


def secret_of(gallery: Gallery) -> str:
    """Return the secret of a gallery, or a temporary secret if none can be read or stored."""
    secret = secrets.token_hex(32)
    try:
        return str(gallery.remember({ID_SECRET: secret})[ID_SECRET])
    except UserError as error:
        log.warning("%s Ids of images are valid until the service ends.", error)
        return secret
