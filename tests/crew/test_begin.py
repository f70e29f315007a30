"""Work that is begun at once: it ends without a task, or a task goes on with it as if it had been its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from dicomnode.places import Places
from dicomnode.prompt import Prompt, begin


async def test_work_that_need_not_wait_is_done_without_a_task() -> None:
    told: list[str] = []

    async def work() -> None:
        told.append("done")

    assert begin(asyncio.get_running_loop(), work()) is None
    assert told == ["done"]


@pytest.mark.parametrize("kind", ["future", "prompt", "next round", "seconds"])
async def test_work_is_done_up_to_where_it_waits_and_its_task_returns_the_rest(kind: str) -> None:
    loop, told = asyncio.get_running_loop(), list[str]()
    future, prompt = loop.create_future(), Prompt[str](loop)
    seconds = {"next round": 0.0, "seconds": 0.01}

    async def work() -> str:
        told.append("begun")
        await (future if kind == "future" else prompt if kind == "prompt" else asyncio.sleep(seconds[kind]))
        await asyncio.sleep(0)
        return "ended"

    task = begin(loop, work())
    assert told == ["begun"]
    assert task is not None
    loop.call_later(0.01, future.set_result, None)
    loop.call_later(0.01, prompt.come, "there")
    assert await task == "ended"


async def test_what_it_waits_for_may_come_before_the_task_s_first_step() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    task = begin(loop, asyncio.wait_for(future, None))
    future.set_result("there")
    assert task is not None
    assert await task == "there"


async def test_two_may_wait_for_the_same() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    async def work() -> str:
        return await future

    tasks = [begin(loop, work()) for _ in range(3)]
    future.set_result("there")
    assert [await task for task in tasks if task is not None] == ["there"] * 3


@pytest.mark.parametrize("rounds", [0, 1])
async def test_a_place_that_is_waited_for_is_not_lost_when_the_task_is_cancelled(rounds: int) -> None:
    loop, places = asyncio.get_running_loop(), Places(1)
    assert places.take(1)
    task = begin(loop, places.wait(1))
    assert task is not None
    for _ in range(rounds):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    places.give(1)
    assert task.cancelled()
    assert (places.taken, places.waiting) == (0, 0)


async def test_what_goes_wrong_is_raised_at_once_or_by_the_task() -> None:
    loop = asyncio.get_running_loop()

    async def work(waits: bool) -> None:
        if waits:
            await asyncio.sleep(0)
        raise ValueError

    with pytest.raises(ValueError):
        begin(loop, work(False))
    task = begin(loop, work(True))
    assert task is not None
    with pytest.raises(ValueError):
        await task
