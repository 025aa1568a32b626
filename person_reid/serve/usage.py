"""Metrics of a service's requests, for Prometheus."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


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

    def watch_camera(self, camera: str, is_well: Callable[[], float]) -> None:
        """Add the metric for a camera."""
        self._cameras.labels(camera).set_function(is_well)

    def count(self, operation: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(operation, status).inc()
        self._seconds.labels(operation).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)
