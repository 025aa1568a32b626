"""Log in JSON lines, for programs that collect logs."""

import json
import logging
import sys
from datetime import datetime, timezone

from person_reid.config.times import stored

# The logger that gets a record for each request. The terminal shows the records of all loggers
# below person_reid, so this one is not among them.
REQUESTS = "person_reid_requests"


class JsonLines(logging.Formatter):
    """Write a record as a JSON object: its message and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record."""
        time = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": stored(time, "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_as_json() -> None:
    """Write all logs of this process, and a line for each request, to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.getLogger("person_reid").handlers = []  # removes the terminal's handler
    logging.getLogger().handlers = [handler]
    logging.getLogger(REQUESTS).setLevel(logging.INFO)
