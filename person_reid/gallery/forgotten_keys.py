"""What an index hashes of images and tracks that were forgotten, to know them again.

A hash tells neither a path nor a name; whoever has the index and guesses a path can check it.
"""

from hashlib import blake2b


def hash_of_key(key: bytes, token: str) -> bytes:
    """Return what a gallery with this token stores of a key."""
    return blake2b(key, digest_size=16, key=token.encode()).digest()


def image_key(path: bytes, state: str) -> bytes:
    """Return the key of an image: its path, and the size and time of its file."""
    return b"\0".join((b"image", path, state.encode(errors="surrogatepass")))


def track_key(source: str, track: str) -> bytes:
    """Return the key of a track of a source."""
    return b"\0".join((b"track", source.encode(), track.encode(errors="surrogatepass")))
