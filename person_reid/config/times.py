"""Times as people write them, and as an index stores them: local, such as 2026-11-01 09:30:00."""

import re
from datetime import datetime, timedelta

from person_reid.errors import UserError

LENGTHS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def moment(text: str, precision: str = "seconds") -> str:
    """Return a date or time in ISO 8601, such as 2026-11-01 or 2026-11-01T09:30, as
    it is stored: local, in seconds.

    precision: "auto" keeps fractions of a second.
    """
    try:
        # Python 3.10 does not know Z
        found = datetime.fromisoformat(re.sub("Z$", "+00:00", text.strip()))
        return stored(found.astimezone() if found.tzinfo else found, precision)
    except (ValueError, OverflowError):
        raise UserError(
            f"{text!r}: no such time; expected 2026-11-01 or 2026-11-01T09:30:00."
        ) from None


def instant(text: str) -> str:
    """Return a date or time as moment does, with fractions of a second."""
    return moment(text, "auto")


def stored(time: datetime, precision: str = "seconds") -> str:
    """Return a local time as it is stored; years have four digits (unlike
    strftime's %Y), so text sorts by time.
    """
    return time.replace(tzinfo=None).isoformat(" ", precision)


def ago(text: str) -> str:
    """Return the time that was so long ago: 12h, 30d or 4w."""
    if not (found := re.fullmatch(r"(\d{1,5})([hdw])", text)):
        raise UserError(f"{text!r}: no such age; expected 12h, 30d or 4w.")
    return stored(datetime.now() - int(found[1]) * LENGTHS[found[2]])
