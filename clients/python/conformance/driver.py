"""The conformance suite's way to the Python client: operations as JSON lines on stdin, replies on stdout in any order.

Run with `python -m conformance.driver` in clients/python. The protocol is in tests/conformance/README.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys

from opentelemetry import context, propagate

from conformance.operations import Operations, Told
from conformance.telling import Json, error_json

LINE_BYTES = 256 * 1024 * 1024
"""A message of 32 MiB as JSON, with room."""


class Driver:
    """Reads operations and starts each as a task of its own, so that reading never waits."""

    def __init__(self) -> None:
        self._operations = Operations()
        self._running: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serves until stdin ends, then ends what still runs."""
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
        )
        while line := await reader.readline():
            asked: Json = json.loads(line)
            if asked["op"] == "cancel":
                self._cancel(asked)
                continue
            task = asyncio.create_task(self._serve(asked))
            self._running[asked["id"]] = task
            task.set_name(str(asked["id"]))
            task.add_done_callback(self._ended)
        left = list(self._running.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._operations.close_all()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(int(task.get_name()), None)

    def _cancel(self, asked: Json) -> None:
        task = self._running.get(asked["target"])
        if task is not None:
            task.cancel()
        _write({"id": asked["id"], "result": {}})

    async def _serve(self, asked: Json) -> None:
        # A task has a context of its own, so the span is current for this operation alone.
        carrier = {name: asked[name] for name in ("traceparent", "tracestate") if name in asked}
        if carrier:
            context.attach(propagate.extract(carrier))
        reply: Json
        try:
            reply = {"result": await self._operations.carry_out(asked)}
        except Told as told:
            reply = {"error": told.told}
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every end is a reply
            reply = {"error": error_json(error)}
        _write({"id": asked["id"], **reply})


def _write(reply: Json) -> None:
    sys.stdout.write(json.dumps(reply, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serves the suite."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(Driver().run())


if __name__ == "__main__":
    main()
