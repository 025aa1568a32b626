"""Images that clients send to a gallery: their files and names.

An image is decoded and stored as a PNG file beside the index, named by the checksum of its pixels.
The client's file and its name therefore never reach the disk, the same image is stored only once,
and forgetting deletes it.
"""

import io
import os
import time
from hashlib import sha256
from pathlib import Path

from PIL import Image

from person_reid.files import atomic_write
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.index_folder import OWNER, UPLOAD_NAME, folder_beside, is_owner
from person_reid.serve.problems import Problem

SOURCE = "uploads"  # the source of the images, and their folder beside the index
ROWS = 256  # of an image, that are hashed at a time
LONGEST_ADDITION = 600  # seconds between storing an image and listing it


def as_stored(image: Image.Image) -> tuple[str, bytes]:
    """Return the name and the content of the file that stores an image."""
    pixels = sha256(f"{image.width}x{image.height}\n".encode())
    for top in range(0, image.height, ROWS):
        pixels.update(image.crop((0, top, image.width, min(top + ROWS, image.height))).tobytes())
    content = io.BytesIO()
    image.save(content, "PNG")
    return f"{pixels.hexdigest()}.png", content.getvalue()


def upload_folder(index: Gallery) -> Path:
    """Return the folder for stored images. Raises Problem if none belongs to the gallery."""
    if not index.file:
        raise Problem(409, "This gallery keeps no images: its address names no ?crops=FOLDER.")
    if not is_owner(index.file, index.owner):
        raise Problem(
            409,
            "The folder for images belongs to another gallery. Name another folder by "
            f"?crops=FOLDER, or delete {OWNER} in it if that gallery is gone.",
        )
    return folder_beside(index.file, SOURCE)


def store(content: bytes, path: Path) -> None:
    """Write the file of an image, unless it exists.

    The file's time is always the same, so that a forgotten image is recognised.
    """
    if path.exists():
        return
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
        os.utime(temporary, (0, 0))


def remove_unlisted(index: Gallery) -> None:
    """Delete images that a killed service stored but never acknowledged.

    The newest images are kept, because another service may be adding them.
    """
    folder = folder_beside(index.file, SOURCE) if index.file else Path()
    names = [path for path in folder.glob("*.png") if UPLOAD_NAME.fullmatch(path.name)]
    if not (index.file and names and is_owner(index.file, index.owner)):
        return
    before = time.time() - LONGEST_ADDITION
    listed = index.abouts(names)  # even if a copy has changed the file's time
    for path in names:
        if path not in listed and path.stat().st_ctime < before:
            path.unlink(missing_ok=True)
