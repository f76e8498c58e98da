"""Security headers on every answer, and no unsafe request from another site. Plain ASGI, so streams stay streams."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import answer

# Plotly writes two <style> elements when it starts: an empty one, which it fills by script (CSSOM), and MapLibre's
# stylesheet, whose hash is that of plotly.js 4.1. A browser test fails on any violation, and so tells of a new hash.
_PLOTLY_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
    "'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o='",
)
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        f"style-src 'self' {' '.join(_PLOTLY_STYLES)}",
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    )
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class BodyLimit:
    """Refuses a body that is too large with 413, by what it says and by what really comes.

    `most` bytes everywhere, but so many as `larger` says where an address ends in one of its keys.
    """

    def __init__(self, app: ASGIApp, most: int, larger: Mapping[str, int]) -> None:
        self.app, self.most, self.larger = app, most, larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        most = next((limit for end, limit in self.larger.items() if path.endswith(end)), self.most)
        refusal = f"The request is larger than {most // 1024:,} KB."
        said = Headers(scope=scope).get("content-length", "0")
        if said.isascii() and said.isdigit() and int(said) > most:
            await refused(scope, 413, refusal)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, refusal)
            return message

        await self.app(scope, counted, send)


class Compressed(GZipMiddleware):
    """Pages, JSON, scripts and tables go out compressed; streams of events stay streams, packed numbers as they are."""

    def __init__(self, app: ASGIApp) -> None:
        packed = (
            "application/octet-stream",
            "application/zip",
            "application/vnd.apache.parquet",
            "application/vnd.fitroom.curves",
        )
        super().__init__(
            app, minimum_size=1000, compresslevel=5, exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, *packed)
        )


class SameSiteOnly:
    """Refuses what another site's page makes a browser send: Sec-Fetch-Site, or Origin where a browser lacks it.

    A client that is no browser sends neither, and holds no cookie that could be abused.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS and _from_elsewhere(Headers(scope=scope)):
            text = "This request came from another site and was refused."
            await refused(scope, 403, text)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def refused(scope: Scope, status: int, detail: str) -> Response:
    """Before anything is known of who asks: problem details under /api, a plain sentence elsewhere."""
    if scope["path"].startswith("/api/"):
        return answer(Request(scope), status, detail)
    return PlainTextResponse(f"{detail}\n", status)


def _from_elsewhere(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")
