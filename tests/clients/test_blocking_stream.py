"""What only the blocking stream has to do: be ended by another thread than the one that reads."""

from __future__ import annotations

import gc
import threading

from tests.clients.scripted_sidecar import Hang, Refusal, ScriptedSidecar, Serving
from turnout import Client
from turnout.errors import TransportError
from turnout.v1 import router_pb2 as pb

GENEROUS_SECONDS = 60.0


def test_another_thread_can_end_a_stream_that_is_being_read() -> None:
    sidecar = ScriptedSidecar()
    sidecar.will("ExecuteStream", [pb.ExecuteStreamResponse(decision=pb.Decision(decision_id="d")), Hang()])
    first_seen = threading.Event()
    ended: list[type[Exception]] = []

    with Serving(sidecar), Client(sidecar.address) as client:
        stream = client.stream("Hi")

        def read() -> None:
            try:
                for _ in stream:
                    first_seen.set()
            except TransportError as error:
                ended.append(type(error))

        reader = threading.Thread(target=read)
        reader.start()
        assert first_seen.wait(GENEROUS_SECONDS)
        stream.close()
        reader.join(GENEROUS_SECONDS)

    assert ended == [TransportError]
    assert sidecar.ended.wait(GENEROUS_SECONDS)


def test_another_thread_can_end_a_stream_that_waits_for_its_next_try() -> None:
    sidecar = ScriptedSidecar()
    sidecar.will("ExecuteStream", Refusal(reason="DRAINING", retry_seconds=300.0), Hang())
    ended: list[type[Exception]] = []

    with Serving(sidecar), Client(sidecar.address) as client:
        stream = client.stream("Hi")

        def read() -> None:
            try:
                next(stream)
            except TransportError as error:
                ended.append(type(error))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        assert sidecar.ended.wait(GENEROUS_SECONDS)
        stream.close()
        reader.join(GENEROUS_SECONDS)

    assert ended == [TransportError]
    assert sidecar.methods() == ["ExecuteStream"]


def test_a_stream_that_nobody_holds_ends_its_call_without_garbage_being_collected() -> None:
    sidecar = ScriptedSidecar()
    sidecar.will("ExecuteStream", [pb.ExecuteStreamResponse(decision=pb.Decision(decision_id="d")), Hang()])

    with Serving(sidecar), Client(sidecar.address) as client:
        gc.disable()
        try:
            for _ in client.stream("Hi"):
                break
            assert sidecar.ended.wait(GENEROUS_SECONDS)
        finally:
            gc.enable()
