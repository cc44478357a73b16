"""What only the blocking stream has to do: be ended by another thread than the one that reads."""

from __future__ import annotations

import threading

from tests.clients.scripted_sidecar import Hang, ScriptedSidecar, Serving
from turnout import Client
from turnout.errors import TransportError
from turnout.v1 import router_pb2 as pb


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
        assert first_seen.wait(5)
        stream.close()
        reader.join(5)

    assert ended == [TransportError]
    assert sidecar.ended.wait(5)
