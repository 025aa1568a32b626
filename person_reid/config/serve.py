"""The options of tools/serve.py."""

import re
from typing import ClassVar

from person_reid.config.detector import DetectorOptions, TrackerOptions
from person_reid.config.forms import file_ending_in
from person_reid.config.option import ANY, POSITIVE, Options, Range, option, redeclared
from person_reid.config.people import LinkOptions, VideoOptions, camera_and_video
from person_reid.config.search import AddOptions, age

PORT = Range("from 0 to 65535", lambda number: 0 <= number <= 65535)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def path_of_address(text: str) -> str:
    """Check a value of --root_path, such as /reid."""
    if not re.fullmatch("(/[A-Za-z0-9._~-]+)*", text):
        raise ValueError("expected a path such as /reid")
    return text


class AddressOptions(Options, title="address"):
    """The address at which the service listens, and how access to it is controlled."""

    host: str = option("127.0.0.1", "address to listen on; by default, for this machine only")
    port: int = option(8000, "port to listen on; 0 takes a free one", range=PORT, common=True)
    certificate: str | None = option(
        None, "certificate for TLS, in PEM", metavar="FILE", needs={"key": ANY}
    )
    key: str | None = option(
        None, "private key of the certificate", metavar="FILE", needs={"certificate": ANY}
    )
    behind_proxy: bool = option(False, "a proxy in front of the service encrypts the traffic")
    root_path: str | None = option(
        None,
        "path under which the proxy offers the service, such as /reid",
        form=path_of_address,
        metavar="PATH",
        needs={"behind_proxy": ANY},
    )
    tokens: str | None = option(
        None,
        "file with a role (read, write, forget) and a token in each line (default: a new token "
        "for all roles, printed once)",
        metavar="FILE",
        common=True,
    )
    audit: str | None = option(
        None,
        "file that gets a line of JSON whenever names change or people are forgotten",
        form=file_ending_in(".jsonl"),
        metavar="FILE.jsonl",
    )
    log_json: bool = option(
        False, "write a line of JSON to standard error for each request and log message"
    )


class ServiceLimits(Options, title="limits"):
    """The limits of the service."""

    most_megabytes: int = option(16, "megabytes per request", range=POSITIVE)
    most_images: int = option(64, "images or features per request", range=POSITIVE)
    most_megapixels: int = option(100, "megapixels of images per request", range=POSITIVE)
    most_waiting: int = option(256, "images or searches that wait their turn", range=POSITIVE)
    per_minute: int = option(6000, "requests per minute with one token", range=POSITIVE)
    timeout: int = option(60, "seconds that a request may take", range=POSITIVE)
    readers: int = option(4, "searches at the same time", range=POSITIVE)
    connections: int = option(500, "connections at the same time", range=POSITIVE)
    keep_alive: int = option(
        75, "seconds that a connection is kept open between two requests", range=POSITIVE
    )
    listeners: int = option(32, "programs that listen to events at the same time", range=POSITIVE)
    viewers: int = option(8, "programs that look at live cameras at the same time", range=POSITIVE)
    retain: str | None = option(
        None, "forget images older than 12h, 30d or 4w, once an hour", form=age, metavar="AGE"
    )


class CameraOptions(TrackerOptions, DetectorOptions, title="live cameras"):
    """The live cameras that the service follows, and the settings for them."""

    camera: tuple[str, ...] = option(
        (),
        "live cameras by their names: rtsp:// and http:// addresses, webcams (0), or videos",
        form=camera_and_video,
        several="+",
        metavar="NAME=ADDRESS",
        common=True,
    )
    every: int | None = redeclared(VideoOptions, "every", None, needs={"camera": ANY})
    threshold: str | None = redeclared(LinkOptions, "threshold", None, needs={"camera": ANY})
    travel: str | None = redeclared(LinkOptions, "travel", None, needs={"camera": ANY})
    remember: int = redeclared(VideoOptions, "remember", 1000, needs={"camera": ANY})

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each camera."""
        return dict(each.split("=", 1) for each in self.camera)

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        unused = (*DetectorOptions.declared(), *TrackerOptions.declared())
        if not self.camera and (ignored := self.not_default(unused)):
            return f"{next(iter(ignored))} would be ignored without camera."
        return "Two cameras have one name." if len(self.addresses) < len(self.camera) else ""


class ServeConfig(CameraOptions, ServiceLimits, AddressOptions, AddOptions):
    """All options of tools/serve.py."""

    left_out: ClassVar[frozenset[str]] = frozenset({"images", "allow_forgotten"})

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        if self.host in LOOPBACK or self.certificate or self.behind_proxy:
            return ""
        return (
            "host lets other machines in, and tokens and photographs would travel unencrypted. "
            "Give certificate and key, or behind_proxy if a proxy encrypts."
        )
