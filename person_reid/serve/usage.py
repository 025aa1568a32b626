"""The reports of a service on its requests: metrics for Prometheus, and a log of JSON lines."""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from person_reid.config.times import stored
from person_reid.serve.problems import without_folders

# The logger that gets a record for each request. The terminal shows the records of all loggers
# below person_reid, so this one is not among them.
requests_log = logging.getLogger("person_reid_requests")


class Usage:
    """Requests by operation and status, and their duration in seconds."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "person_reid_requests",
            "Requests that were answered",
            ["operation", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "person_reid_request_seconds",
            "Seconds until the answer",
            ["operation"],
            registry=self._registry,
        )

        self._cameras = Gauge(
            "person_reid_camera", "1 if its frames arrive", ["camera"], registry=self._registry
        )

    def watch(self, gauges: Mapping[str, Callable[[], float]]) -> None:
        """Add gauges, which are read when the metrics are requested."""
        for name, read in gauges.items():
            gauge = Gauge(f"person_reid_{name}", name.replace("_", " "), registry=self._registry)
            gauge.set_function(read)

    def watch_cameras(self, states: Callable[[], Mapping[str, str]]) -> None:
        """Add the metrics of cameras. states: returns {camera: its fault, or ""}."""

        def is_well(camera: str) -> bool:
            return not states()[camera]

        for camera in states():
            self._cameras.labels(camera).set_function(partial(is_well, camera))

    def count(self, operation: str, token: str, status: int, seconds: float) -> None:
        """Count and log a request. token: the name of its token."""
        self._requests.labels(operation, status).inc()
        self._seconds.labels(operation).observe(seconds)
        fields = {"token": token, "status": status, "seconds": round(seconds, 6)}
        requests_log.info(operation, extra={"fields": fields})

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class JsonLines(logging.Formatter):
    """Write a record as a JSON object with its fields; paths are shortened to file names."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record."""
        time = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": stored(time, "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_folders(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = without_folders(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def log_as_json() -> None:
    """Write all logs of this process, and a line for each request, to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.getLogger("person_reid").handlers = []  # removes the terminal's handler
    logging.getLogger().handlers = [handler]
    requests_log.setLevel(logging.INFO)
