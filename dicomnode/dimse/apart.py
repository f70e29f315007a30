"""Blocking queries beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

T = TypeVar("T")


async def apart(work: Callable[..., T], *arguments: object, **named: object) -> T:
    """Run a query in a thread of its own, which does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(cast(T, result))

    def run() -> None:
        result, failure = None, None
        try:
            result = work(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - handed over to whoever waits
            failure = error
        with suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=run, name="query", daemon=True).start()
    return await done
