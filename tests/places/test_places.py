"""The bounded queue and the order of twins."""

from __future__ import annotations

import asyncio

import pytest

from dicomnode.places import Places, Turns


async def hold(places: Places, size: int, entered: list[int], leave: asyncio.Event) -> None:
    async with places.place(size):
        entered.append(size)
        await leave.wait()


async def test_places_are_bounded_and_given_in_order() -> None:
    places, leave, entered = Places(100), asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(hold(places, size, entered, leave)) for size in (60, 50, 10)]
    await asyncio.sleep(0)
    assert entered == [60]  # 50 does not fit beside 60, and 10 must not overtake it
    assert places.waiting == 2
    assert not places.take(10)
    leave.set()
    await asyncio.gather(*tasks)
    assert entered == [60, 50, 10]
    assert (places.taken, places.waiting) == (0, 0)
    assert places.take(100)
    assert not places.take(1)


async def test_growing_leaves_a_quarter_to_those_who_begin() -> None:
    places = Places(100)
    assert places.take(50) and places.grow(25)
    assert not places.grow(1)
    assert places.take(25)


async def test_who_wants_more_than_all_places_gets_in_alone() -> None:
    places = Places(100)
    async with places.place(1000):
        assert places.taken == 1000
        assert not places.take(1)
    assert places.taken == 0


async def test_one_who_goes_away_takes_no_place() -> None:
    places, leave, entered = Places(5), asyncio.Event(), list[int]()
    first = asyncio.create_task(hold(places, 3, entered, leave))
    second = asyncio.create_task(hold(places, 4, entered, leave))
    third = asyncio.create_task(hold(places, 2, entered, leave))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0.01)
    assert entered == [3, 2]  # nobody is kept waiting behind one who has gone
    leave.set()
    await asyncio.gather(first, third)
    with pytest.raises(asyncio.CancelledError):
        await second
    assert places.taken == 0


async def test_turns_of_one_key_are_taken_one_after_the_other() -> None:
    turns, running, most = Turns(), 0, 0

    async def work() -> None:
        nonlocal running, most
        async with turns.turn("twin"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(work() for _ in range(5)))
    assert most == 1


async def test_a_cancelled_turn_keeps_the_order() -> None:
    turns, order, leave = Turns(), list[str](), asyncio.Event()

    async def work(name: str, wait: bool) -> None:
        async with turns.turn("twin"):
            order.append(name)
            if wait:
                await leave.wait()
            order.append(name + " done")

    first = asyncio.create_task(work("first", True))
    second = asyncio.create_task(work("second", False))
    third = asyncio.create_task(work("third", False))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    assert order == ["first"]
    leave.set()
    await asyncio.gather(first, third)
    assert order == ["first", "first done", "third", "third done"]


async def test_who_comes_after_a_cancelled_turn_waits_for_the_holder() -> None:
    turns, order, leave = Turns(), list[str](), asyncio.Event()

    async def work(name: str) -> None:
        async with turns.turn("twin"):
            order.append(name)
            await leave.wait()
            order.append(name + " done")

    first, second = (asyncio.create_task(work(name)) for name in ("first", "second"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    third = asyncio.create_task(work("third"))
    await asyncio.sleep(0.01)
    assert order == ["first"]
    leave.set()
    await asyncio.gather(first, third)
    assert order == ["first", "first done", "third", "third done"]


async def test_other_keys_do_not_wait() -> None:
    turns = Turns()
    async with turns.turn(1):
        async with asyncio.timeout(10):
            async with turns.turn(2):
                pass
