"""The gate: who gets in, who waits, who is shed first."""

import asyncio

import pytest

from turnout_server.api.admission import Admission, AdmissionLimits, Draining
from turnout_server.core.errors import DrainingError, InvalidRequestError, SidecarOverloadedError
from turnout_server.core.model import Priority


def gate(
    *, running: int = 2, waiting: int = 2, max_bytes: int | None = None, wait_seconds: float = 5.0
) -> tuple[Admission, Draining]:
    draining = Draining()
    limits = AdmissionLimits(max_running=running, max_waiting=waiting, max_bytes=max_bytes, wait_seconds=wait_seconds)
    return Admission("calls", limits, draining), draining


async def waiting_call(admission: Admission, priority: Priority = Priority.NORMAL) -> asyncio.Task[None]:
    task = asyncio.create_task(admission.enter(priority))
    await asyncio.sleep(0)
    return task


async def test_a_call_beyond_the_limit_waits_until_one_leaves() -> None:
    admission, _ = gate(running=1)
    await admission.enter(Priority.NORMAL)
    task = await waiting_call(admission)

    assert not task.done()

    admission.leave(Priority.NORMAL)
    await task

    assert admission.running == 1


async def test_a_call_that_waits_too_long_is_told_that_the_sidecar_is_overloaded() -> None:
    admission, _ = gate(running=1, wait_seconds=0.01)
    await admission.enter(Priority.NORMAL)

    with pytest.raises(SidecarOverloadedError, match="nothing was sent"):
        await admission.enter(Priority.NORMAL)


async def test_a_full_queue_refuses_at_once() -> None:
    admission, _ = gate(running=1, waiting=1)
    await admission.enter(Priority.NORMAL)
    task = await waiting_call(admission)

    with pytest.raises(SidecarOverloadedError):
        await admission.enter(Priority.NORMAL)
    admission.leave(Priority.NORMAL)
    await task


async def test_low_priority_gets_at_most_half_of_the_room() -> None:
    admission, _ = gate(running=4, wait_seconds=0.01)
    await admission.enter(Priority.LOW)
    await admission.enter(Priority.LOW)

    with pytest.raises(SidecarOverloadedError):
        await admission.enter(Priority.LOW)
    await admission.enter(Priority.NORMAL)

    assert admission.running == 3


async def test_a_waiting_low_call_is_shed_for_one_of_higher_priority() -> None:
    admission, _ = gate(running=1, waiting=2)
    await admission.enter(Priority.NORMAL)
    low = await waiting_call(admission, Priority.LOW)
    first = await waiting_call(admission)
    second = await waiting_call(admission)

    with pytest.raises(SidecarOverloadedError, match="higher priority"):
        await low
    admission.leave(Priority.NORMAL)
    await first
    admission.leave(Priority.NORMAL)
    await second


async def test_normal_calls_enter_before_low_ones_that_came_earlier() -> None:
    admission, _ = gate(running=1, waiting=4)
    await admission.enter(Priority.NORMAL)
    low = await waiting_call(admission, Priority.LOW)
    normal = await waiting_call(admission)
    admission.leave(Priority.NORMAL)
    await normal

    assert not low.done()

    admission.leave(Priority.NORMAL)
    await low


async def test_a_cancelled_wait_leaves_no_trace() -> None:
    admission, _ = gate(running=1, max_bytes=100)
    await admission.enter(Priority.NORMAL, 50)
    task = asyncio.create_task(admission.enter(Priority.NORMAL, 50))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    admission.leave(Priority.NORMAL, 50)
    await admission.enter(Priority.NORMAL, 100)

    assert admission.running == 1


async def test_a_call_cancelled_in_the_moment_it_is_let_in_hands_its_place_on() -> None:
    admission, _ = gate(running=1)
    await admission.enter(Priority.NORMAL)
    first = await waiting_call(admission)
    second = await waiting_call(admission)
    admission.leave(Priority.NORMAL)
    first.cancel()
    await asyncio.wait([first, second])

    assert first.cancelled()
    assert second.exception() is None
    assert admission.running == 1


async def test_requests_that_hold_too_many_bytes_together_are_refused() -> None:
    admission, _ = gate(running=5, max_bytes=100)
    await admission.enter(Priority.NORMAL, 60)

    with pytest.raises(SidecarOverloadedError, match="MiB"):
        await admission.enter(Priority.NORMAL, 60)


async def test_low_requests_hold_at_most_half_of_the_bytes_unless_nothing_else_is_there() -> None:
    admission, _ = gate(running=5, max_bytes=100)
    await admission.enter(Priority.LOW, 60)
    admission.leave(Priority.LOW, 60)
    await admission.enter(Priority.NORMAL, 20)

    with pytest.raises(SidecarOverloadedError, match="MiB"):
        await admission.enter(Priority.LOW, 40)
    await admission.enter(Priority.LOW, 30)
    await admission.enter(Priority.NORMAL, 50)

    assert admission.running == 3


async def test_a_size_is_weighed_without_taking_room() -> None:
    admission, _ = gate(max_bytes=100)
    await admission.enter(Priority.NORMAL, 60)
    admission.weigh(40)
    admission.weigh(40)

    with pytest.raises(SidecarOverloadedError):
        admission.weigh(41)


async def test_a_single_request_above_the_byte_limit_is_refused_with_the_limit_named() -> None:
    admission, _ = gate(max_bytes=100)

    with pytest.raises(InvalidRequestError, match="max_inflight_mib"):
        await admission.enter(Priority.NORMAL, 101)


async def test_nothing_enters_once_the_server_stops() -> None:
    admission, draining = gate()
    draining.event.set()

    with pytest.raises(DrainingError):
        await admission.enter(Priority.CRITICAL)


async def test_idle_comes_when_the_last_call_has_left() -> None:
    admission, _ = gate()
    await admission.enter(Priority.NORMAL)
    idle = asyncio.create_task(admission.idle())
    await asyncio.sleep(0)

    assert not idle.done()

    admission.leave(Priority.NORMAL)
    await idle


async def test_refusals_are_counted_by_the_bound_that_was_met() -> None:
    admission, _ = gate(running=4, waiting=2, max_bytes=100, wait_seconds=0.01)
    await admission.enter(Priority.LOW, 10)
    await admission.enter(Priority.LOW, 10)

    # Two of four places are all that LOW calls get, and half of the bytes.
    with pytest.raises(SidecarOverloadedError):
        await admission.enter(Priority.LOW)
    with pytest.raises(SidecarOverloadedError):
        await admission.enter(Priority.LOW, 60)
    with pytest.raises(SidecarOverloadedError):
        await admission.enter(Priority.NORMAL, 90)
    await admission.enter(Priority.NORMAL)
    await admission.enter(Priority.NORMAL)
    with pytest.raises(SidecarOverloadedError):
        await admission.enter(Priority.NORMAL)
    # Nobody has room now, whatever the priority.
    with pytest.raises(SidecarOverloadedError):
        await admission.enter(Priority.LOW)

    assert {"calls": 2, "low": 2, "bytes": 1} == admission.shed_counts
