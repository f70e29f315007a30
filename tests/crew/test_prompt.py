"""What a task waits for goes on at once; called from a task, in the next round."""

from __future__ import annotations

import asyncio

import pytest

from dicomnode.prompt import Prompt


async def waiting(prompt: Prompt[str], told: list[str]) -> None:
    told.append(await prompt)


async def begun(prompt: Prompt[str], told: list[str]) -> asyncio.Task[None]:
    task = asyncio.create_task(waiting(prompt, told))
    await asyncio.sleep(0)
    return task


async def test_who_waits_has_gone_on_when_the_loop_s_call_returns() -> None:
    loop = asyncio.get_running_loop()
    prompt, told = Prompt[str](loop), list[str]()
    task = await begun(prompt, told)

    def come() -> None:
        prompt.come("there")
        told.append("returned")

    loop.call_soon(come)
    await task
    assert told == ["there", "returned"]


async def test_a_task_that_calls_is_not_interrupted() -> None:
    prompt, told = Prompt[str](asyncio.get_running_loop()), list[str]()
    task = await begun(prompt, told)
    prompt.come("there")
    assert told == []
    await task
    assert told == ["there"]


async def test_what_came_before_is_there() -> None:
    prompt = Prompt[str](asyncio.get_running_loop())
    prompt.come("there")
    assert await prompt == "there"


async def test_a_wait_that_is_cancelled_is_over_and_what_comes_later_disturbs_nobody() -> None:
    prompt, told = Prompt[str](asyncio.get_running_loop()), list[str]()
    task = await begun(prompt, told)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    prompt.come("there")
    await asyncio.sleep(0)
    assert told == []


async def test_a_deadline_ends_the_wait() -> None:
    prompt = Prompt[str](asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await prompt
