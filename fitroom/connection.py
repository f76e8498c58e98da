"""Requests and answers over HTTP, with the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from fitroom.errors import ApiError, Unreachable


class _NoRedirects(HTTPRedirectHandler):
    """The API has none; one from a proxy could take the token to somebody else."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Connection:
    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"A server's address begins with http:// or https://, not as {url!r} does.")
        self._url, self._token, self._timeout = url.rstrip("/"), token, timeout
        self._opener = build_opener(_NoRedirects)

    def json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of the answer. Raises `ApiError`, `Unreachable`."""
        with self.send(method, path, body) as answer:
            try:
                return json.load(answer)
            except (OSError, HTTPException) as error:
                raise Unreachable(f"The answer to {method} {path} broke off: {error}") from error
            except ValueError as error:
                raise Unreachable(f"What answers to {method} {path} is no Fitroom: {error}") from error

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> HTTPResponse:
        """An answer that is still to be read, and closed; `timeout` may only be shorter than the connection's own.

        Raises `ApiError`, `Unreachable`.
        """
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, method=method)  # noqa: S310 - http or https: checked above
        for name, value in {"Accept": "application/json, text/event-stream, */*", **(headers or {})}.items():
            request.add_header(name, value)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self._token is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        seconds = self._timeout if timeout is None else min(timeout, self._timeout)
        try:
            return cast("HTTPResponse", self._opener.open(request, timeout=seconds))
        except HTTPError as error:
            with error:
                raise ApiError.of(error.code, error.reason, error.read()) from None
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"{self._url} does not answer: {reason}") from error
