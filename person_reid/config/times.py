"""Times as people write them, and in stored form: UTC, such as 2026-11-01 08:30:00Z.

A text without an offset is local time.
"""

import re
from datetime import UTC, datetime, timedelta

from person_reid.errors import UserError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A day short of the calendar's ends, so that every time can be rounded and written in any zone.
FIRST = datetime(1, 1, 2, tzinfo=UTC)
LAST = datetime(9999, 12, 31, tzinfo=UTC)
LENGTHS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def parsed(text: str) -> datetime:
    """Parse a date or time in ISO 8601, such as 2026-11-01 or 2026-11-01T09:30+01:00, into UTC.

    Raises UserError if the text is not one.
    """
    try:
        found = datetime.fromisoformat(text.strip()).astimezone(UTC)
        if FIRST <= found < LAST:
            return found
        raise ValueError
    except (ValueError, OverflowError, OSError):  # the last from Windows, before 1970
        raise UserError(
            f"{text!r}: no such time; expected 2026-11-01 or 2026-11-01T09:30:00, "
            "which are local, or 2026-11-01T08:30:00Z."
        ) from None


def moment(text: str) -> str:
    """Return a date or time in stored form, in whole seconds."""
    return stored(parsed(text))


def instant(text: str) -> str:
    """Return a date or time in stored form, with fractions of a second."""
    return stored(parsed(text), "auto")


def stored(time: datetime, precision: str = "seconds") -> str:
    """Return a time in stored form, in which text sorts by time.

    time: without a zone, it is local. Years have four digits, unlike strftime's %Y.
    """
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(" ", precision) + "Z"


def written(time: str | datetime, precision: str = "seconds") -> str:
    """Return a readable time: local, with its offset, such as 2026-11-01 09:30:00+01:00."""
    known = parsed(time) if isinstance(time, str) else time
    return known.astimezone().isoformat(" ", precision)


def ago(text: str) -> str:
    """Return the stored form of a time in the past, given an age such as 12h, 30d or 4w."""
    if not (found := re.fullmatch(r"(\d{1,5})([hdw])", text)):
        raise UserError(f"{text!r}: no such age; expected 12h, 30d or 4w.")
    return stored(datetime.now(UTC) - int(found[1]) * LENGTHS[found[2]])
