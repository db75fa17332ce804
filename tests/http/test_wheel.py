"""Times of many connections: nobody is called too early, forgotten, or called after all."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from websockets.frames import Frame, Opcode

from community_gql.http import wheel as wheels
from community_gql.http.websocket import are_whole_frames
from community_gql.http.wheel import STEP, Wheel
from tests.support.waiting import until


class Clock:
    """Notes when it was called."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.breaks = False

    def time_has_come(self) -> None:
        self.at.append(asyncio.get_running_loop().time())
        if self.breaks:
            raise ValueError("broken")


async def test_all_are_called_once_and_not_too_early() -> None:
    wheel, loop = Wheel(), asyncio.get_running_loop()
    due = {Clock(): loop.time() + number * 0.003 for number in range(150)}
    slots = {wheel.add(clock, when) for clock, when in due.items()}
    assert len(slots) <= 0.45 / STEP + 2
    await until(lambda: not len(wheel))
    for clock, when in due.items():
        (at,) = clock.at
        assert at >= when - 0.002  # the loop counts milliseconds


async def test_what_was_taken_off_is_not_called() -> None:
    wheel, loop = Wheel(), asyncio.get_running_loop()
    off, on = Clock(), Clock()
    when = loop.time() + 0.1
    wheel.remove(off, wheel.add(off, when))
    wheel.add(on, when)
    await until(lambda: bool(on.at))
    assert off.at == []


async def test_many_of_one_time_let_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "TOGETHER", 10)
    wheel, loop = Wheel(), asyncio.get_running_loop()
    when = loop.time() + 0.05
    clocks = [Clock() for _ in range(100)]
    for clock in clocks:
        wheel.add(clock, when)
    seen: set[int] = set()
    while len(wheel):
        await asyncio.sleep(0)
        seen.add(len(wheel))
    assert seen >= set(range(0, 100, 10))


async def test_a_fault_of_one_is_not_that_of_others() -> None:
    wheel, loop = Wheel(), asyncio.get_running_loop()
    faults: list[object] = []
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
    clocks = [Clock() for _ in range(20)]
    clocks[7].breaks = True
    when = loop.time() + 0.05
    for clock in clocks:
        wheel.add(clock, when)
    await until(lambda: not len(wheel))
    await until(lambda: all(clock.at for clock in clocks))
    assert len(faults) == 1


def test_whole_frames() -> None:
    frame = partial(Frame, Opcode.TEXT)
    for data in (b"", b"x", b"x" * 125, b"x" * 126, b"x" * 65535):
        whole = frame(data).serialize(mask=True)
        assert are_whole_frames(whole)
        assert are_whole_frames(whole + whole)
        for cut in {1, 2, 5, 6, len(whole) - 1}:
            assert are_whole_frames(whole[:cut]) == (cut == len(whole))
            assert are_whole_frames(whole + whole[:cut]) == (cut == len(whole))
    assert not are_whole_frames(frame(b"x" * 65536).serialize(mask=True))
