"""Three small pages over HTTP/1.1: GET and HEAD, one request per connection, everything with a deadline and a cap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus

import structlog

log = structlog.get_logger()

DEADLINE = 5.0  # seconds for a request and its answer together
LONGEST = 8192  # bytes of request line and headers
MOST = 16  # connections at once; more are closed without an answer

Answer = tuple[HTTPStatus, str, bytes]  # status, content type, body
Page = Callable[[], Awaitable[Answer]]


class Web:
    """Serves `pages`, which are known by their paths."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._open = 0
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Take the port and return it; raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=LONGEST)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Give the port back."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MOST:
                async with asyncio.timeout(DEADLINE):
                    await self._answer(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            self._open -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].split(b" ")
        status, kind, body = await self._page(words)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode("ascii") + (b"" if words[0] == b"HEAD" else body))
        await writer.drain()

    async def _page(self, words: list[bytes]) -> Answer:
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return text(HTTPStatus.BAD_REQUEST, "not an HTTP request")
        if words[0] not in (b"GET", b"HEAD"):
            return text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        page = self._pages.get(words[1].split(b"?", 1)[0].decode("latin-1"))
        if page is None:
            return text(HTTPStatus.NOT_FOUND, " ".join(self._pages))
        try:
            return await page()
        except Exception as error:  # noqa: BLE001 - a page that fails must not end the node
            log.error("page-failed", error=type(error).__name__)
            return text(HTTPStatus.INTERNAL_SERVER_ERROR, "failed; see the log")


def text(status: HTTPStatus, words: str) -> Answer:
    """A plain text answer."""
    return status, "text/plain; charset=utf-8", words.encode() + b"\n"
