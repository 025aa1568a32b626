"""Control access to the service: tokens, their roles, and rate limits."""

import hmac
import re
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from person_reid.errors import UserError
from person_reid.files import text_of
from person_reid.serve.problems import Problem

ROLES = ("read", "write", "forget")  # each role includes the ones before it
TOKEN_TEXT = re.compile(r"[\x21-\x7e]{16,}")
MINUTE = 60.0


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


def read_tokens(file: str | Path) -> dict[str, str]:
    """Return {token: role} from a file with a role and a token on each line."""
    found = {}
    lines = text_of(file, expected="lines of a role and a token")
    for number, line in enumerate(lines.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        role, _, token = line.strip().partition(" ")
        if role not in ROLES or not TOKEN_TEXT.fullmatch(token.strip()):
            raise UserError(
                f"{file}, line {number}: expected one of {', '.join(ROLES)}, a space, and a token "
                "of at least 16 characters."
            )
        if token.strip() in found:
            raise UserError(f"{file}, line {number}: the token of an earlier line.")
        found[token.strip()] = role
    if not found:
        raise UserError(f"{file}: no tokens in it. A line is, for example: read {new_token()}")
    return found


class Access:
    """The tokens of a service.

    tokens: {token: role}. per_minute: how many requests each token may make per minute.
    """

    def __init__(self, tokens: Mapping[str, str], per_minute: int) -> None:
        self._roles = {token.encode(): role for token, role in tokens.items()}
        self._per_minute = per_minute
        self._times: dict[bytes, deque[float]] = defaultdict(deque)

    def admit(self, authorization: str | None, role: str) -> str:
        """Return a name for a request's token; the name reveals nothing about the token.

        Raises Problem if the token is missing, is wrong, does not allow the role, or was used too
        often.
        """
        scheme, _, credentials = (authorization or "").partition(" ")
        is_bearer = scheme.lower() == "bearer"  # RFC 9110, 11.1: in any case
        sent = credentials.strip().encode(errors="replace") if is_bearer else b""
        # compared with every token, in a time that reveals nothing about them
        matches = [token for token in self._roles if hmac.compare_digest(token, sent)]
        if not matches:
            raise Problem(
                401,
                "The token is missing or wrong. Send it as: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        (token,) = matches
        if ROLES.index(self._roles[token]) < ROLES.index(role):
            raise Problem(403, f"This token may only {self._roles[token]}. Use one for: {role}.")
        self._count(token)
        return sha256(token).hexdigest()[:8]

    def _count(self, token: bytes) -> None:
        """Raise Problem if a token was used too often in the last minute."""
        now, times = time.monotonic(), self._times[token]
        while times and times[0] <= now - MINUTE:
            times.popleft()
        if len(times) >= self._per_minute:
            wait = str(int(times[0] + MINUTE - now) + 1)
            detail = f"More than {self._per_minute} requests in a minute. Wait {wait} seconds."
            raise Problem(429, detail, {"Retry-After": wait})
        times.append(now)
