"""What can go wrong.

FitroomError
├── Unreachable              nobody answered
└── ApiError                 the server said no: problem details, as RFC 9457 has them
    ├── Invalid              422, `errors` says by field what is wrong
    ├── NotFound             404
    ├── NotAllowed           401 and 403
    └── Refused              409, 429 and others that asking again later may change
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class FitroomError(Exception):
    """Anything that went wrong between this client and its server."""


class Unreachable(FitroomError):
    """Nobody answered at the server's address, or the connection broke."""


class ApiError(FitroomError):
    """The server refused; `detail` is its sentence."""

    def __init__(self, status: int, title: str, detail: str, errors: Mapping[str, str]) -> None:
        self.status, self.title, self.detail, self.errors = status, title, detail, dict(errors)
        fields = "; ".join(f"{name}: {text}" for name, text in self.errors.items())
        super().__init__(f"{status} {title}: {detail}" + (f" ({fields})" if fields else ""))

    @classmethod
    def of(cls, status: int, reason: str, body: bytes) -> ApiError:
        """From an answer; one that is no problem+json, of a proxy say, is shown as it came."""
        problem = _problem(body)
        kind = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 422: Invalid}.get(status, ApiError)
        if status in (409, 423, 429, 503):
            kind = Refused
        detail = problem.get("detail") or body[:200].decode(errors="replace").strip()
        return kind(status, str(problem.get("title") or reason), str(detail), problem.get("errors") or {})


class Invalid(ApiError):
    """What was sent cannot be used; `errors` maps field to sentence."""


class NotFound(ApiError):
    """There is no such run, or nothing at this address."""


class NotAllowed(ApiError):
    """The token is missing or wrong, or its owner may not do this."""


class Refused(ApiError):
    """The state of things does not allow it now."""


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
