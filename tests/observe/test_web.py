"""The little web server: pages, and whatever else one may send to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest

from dicomnode.observe import web


async def _broken() -> web.Answer:
    raise ValueError("Zwetschgenbaum")


async def _slow() -> web.Answer:
    await asyncio.sleep(60)
    return await _fine()


async def _fine() -> web.Answer:
    return web.text(HTTPStatus.OK, "fine")


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(web, "DEADLINE", 0.5)
    server = web.Web({"/fine": _fine, "/broken": _broken, "/slow": _slow})
    yield await server.listen("127.0.0.1", 0)
    server.close()


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_page(port: int) -> None:
    answer = await ask(port, b"GET /fine?x=1 HTTP/1.1\r\nHost: here\r\n\r\n")
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"fine\n"
    assert b"Content-Length: 5" in head
    assert (await ask(port, b"HEAD /fine HTTP/1.0\r\n\r\n")) == head + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /other HTTP/1.1", 404),
        (b"POST /fine HTTP/1.1", 405),
        (b"GET /fine", 400),
        (b"GET /fine SPDY/3", 400),
        (b"\x16\x03\x01", 400),
        (b"GET /\xff\xfe HTTP/1.1", 404),
        (b"GET /broken HTTP/1.1", 500),
    ],
)
async def test_what_is_not_a_page(port: int, request_line: bytes, status: int) -> None:
    answer = await ask(port, request_line + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Zwetschgenbaum" not in answer


@pytest.mark.parametrize("request_line", [b"GET /slow HTTP/1.1\r\n\r\n", b"GET /fine", b"", b"GET /" + b"x" * 20_000])
async def test_neither_time_nor_memory_is_given_without_end(port: int, request_line: bytes) -> None:
    async with asyncio.timeout(15):
        assert await ask(port, request_line) == b""


async def test_connections_are_capped(port: int) -> None:
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(web.MOST)]
    assert await ask(port, b"GET /fine HTTP/1.1\r\n\r\n") == b""
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.1)
    assert b"fine" in await ask(port, b"GET /fine HTTP/1.1\r\n\r\n")
