"""The suite's operations, each by the client's public methods."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from importlib.metadata import version
from typing import Any, TypeVar

import grpc
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

import turnout
from conformance.applications import Application
from conformance.telling import Json, Unsupported, WrongUse, error_json, message_json
from turnout.requests import ExecuteSettings, RouteSettings
from turnout.v1 import router_pb2 as pb

FLUSH_SECONDS = 5.0

Kind = TypeVar("Kind", bound=Message)


class Told(Exception):  # noqa: N818 - an error and what goes with it
    """An error that is told with more than it carries itself."""

    def __init__(self, error: BaseException, also: Json) -> None:
        super().__init__(str(error))
        self.told = error_json(error, also)


class Operations:
    """The clients that a suite has opened, by name, and what it may ask of them."""

    def __init__(self) -> None:
        self._clients: dict[str, turnout.AsyncClient] = {}
        self._by_name: dict[str, Callable[[Json], Awaitable[Json]]] = {
            "hello": self.hello,
            "open": self.open,
            "close": self.close,
            "route": self.route,
            "execute": self.execute,
            "report": self.report,
            "status": self.status,
            "stream": self.stream,
            "watch": self.watch,
            "plan": self.plan,
            "flush": self.flush,
            "measure": self.measure,
        }

    async def carry_out(self, asked: Json) -> Json:
        """Carries an operation out and returns its result."""
        operation = self._by_name.get(asked["op"])
        if operation is None:
            raise Unsupported(f"{asked['op']} is not an operation of this driver")
        return await operation(asked)

    async def close_all(self) -> None:
        """Closes what is still open."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    async def hello(self, asked: Json) -> Json:
        """Says who is here."""
        del asked
        runtime = f"python{platform.python_version()}"
        return {"language": "python", "client": version("turnout"), "runtime": runtime, "grpc": grpc.__version__}

    async def open(self, asked: Json) -> Json:
        """Makes a client."""
        name = asked["client"]
        if name in self._clients:
            raise WrongUse(f"a client {name} is open already")
        given = {key: asked[key] for key in ("token", "token_file", "max_retry_count", "plan_cache") if key in asked}
        try:
            tls = turnout.Tls.from_files(**asked["tls"]) if "tls" in asked else None
            client = turnout.AsyncClient(asked.get("address"), tls=tls, fallback=asked.get("fallback"), **given)
        except ValueError as error:
            raise WrongUse(str(error)) from error
        self._clients[name] = client
        return {"address": client.address}

    async def close(self, asked: Json) -> Json:
        """Ends a client gracefully."""
        client = self._client(asked)
        del self._clients[asked["client"]]
        await client.close()
        return {}

    async def route(self, asked: Json) -> Json:
        """Asks for a decision, whatever is kept."""
        response = await self._client(asked).route(**_route_settings(asked))
        return {"response": message_json(response)}

    async def execute(self, asked: Json) -> Json:
        """Has a call made."""
        request = _message(pb.ExecuteRequest, asked)
        answer = await self._client(asked).execute(request.input, **_execute_settings(request, asked))
        return {"response": message_json(_response(answer))}

    async def report(self, asked: Json) -> Json:
        """Reports by hand."""
        request = _message(pb.ReportOutcomeRequest, asked)
        seconds = asked.get("timeout_seconds")
        response = await self._client(asked).report(request.outcomes, request.feedback, timeout_seconds=seconds)
        return {"response": message_json(response)}

    async def status(self, asked: Json) -> Json:
        """Asks for the state of providers."""
        request = _message(pb.ProviderStatusRequest, asked)
        response = await self._client(asked).status(
            *request.providers,
            window_seconds=request.window.ToMicroseconds() / 1e6 if request.HasField("window") else None,
            timeout_seconds=asked.get("timeout_seconds"),
        )
        return {"response": message_json(response)}

    async def stream(self, asked: Json) -> Json:
        """Reads a stream, to its end or to the n-th delta."""
        request = _message(pb.ExecuteStreamRequest, asked)
        stop_after, seen = asked.get("stop_after_deltas"), _Seen()
        stream = self._client(asked).stream(request.input, **_execute_settings(request, asked))
        try:
            async with stream:
                async for event in stream:
                    seen.take(event)
                    if stop_after is not None and seen.delta_count >= stop_after:
                        break
        except (turnout.TurnoutError, ValueError) as error:
            parts = [message_json(part) for part in stream.parts_so_far]
            raise Told(error, {"text": stream.text_so_far, "parts": parts, "events": seen.events}) from error
        result = {
            "text": stream.text_so_far,
            "parts": [message_json(part) for part in stream.parts_so_far],
            "events": seen.events,
            "restart_count": seen.events.count("restart"),
            "stopped": seen.completion is None,
        }
        return result if seen.completion is None else result | {"completion": message_json(seen.completion)}

    async def watch(self, asked: Json) -> Json:
        """Follows the state of providers for so many messages."""
        request = _message(pb.WatchProviderStatusRequest, asked)
        messages: list[Json] = []
        changes = self._client(asked).watch_status(
            *request.providers,
            window_seconds=request.window.ToMicroseconds() / 1e6 if request.HasField("window") else None,
            resume_revision=request.resume_revision if request.HasField("resume_revision") else None,
            timeout_seconds=asked.get("timeout_seconds"),
        )
        async with aclosing(changes):
            async for change in changes:
                messages.append(message_json(change))
                if len(messages) >= int(asked["count"]):
                    break
        return {"messages": messages}

    async def plan(self, asked: Json) -> Json:
        """Has the application's function called with the targets of a plan."""
        application, told = Application(asked.get("targets", {})), {}
        try:
            plan = await self._client(asked).plan(**_route_settings(asked))
            told = {
                "reused": plan.reused,
                "stale": plan.stale,
                "stale_reason": plan.stale_reason,
                "decision_id": plan.decision_id,
            }
            await plan.run_async(application.call)
        except WrongUse:
            raise
        except Exception as error:
            raise Told(error, {"called": application.called, **told}) from error
        return {"called": application.called, "ok": True, **told}

    async def flush(self, asked: Json) -> Json:
        """Waits for the reports of plans."""
        client = self._client(asked)
        await client.flush(FLUSH_SECONDS)
        return {"unreported": client.unreported_count + client.pending_count}

    async def measure(self, asked: Json) -> Json:
        """Compares a plan that is used again with asking for one."""
        client, settings, count = self._client(asked), _route_settings(asked), int(asked["count"])
        application = Application({})
        asking: list[float] = []
        reusing: list[float] = []
        for _ in range(count):
            began_at = time.perf_counter()
            await client.route(**settings)
            asking.append(time.perf_counter() - began_at)
        while len(reusing) < count:
            began_at = time.perf_counter()
            plan = await client.plan(**settings)
            await plan.run_async(application.call)
            seconds = time.perf_counter() - began_at
            if plan.reused:
                reusing.append(seconds)
        return {"route_seconds": statistics.median(asking), "reused_seconds": statistics.median(reusing)}

    def _client(self, asked: Json) -> turnout.AsyncClient:
        name = asked.get("client")
        if name not in self._clients:
            raise WrongUse(f"no client {name} is open")
        return self._clients[name]


class _Seen:
    """The events of a stream as the suite compares them: runs of deltas as one."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.delta_count = 0
        self.completion: pb.Completion | None = None

    def take(self, event: pb.ExecuteStreamResponse) -> None:
        kind = event.WhichOneof("event") or "unknown"
        if kind == "delta":
            self.delta_count += 1
        elif kind == "completion":
            self.completion = event.completion
        if kind != "delta" or self.events[-1:] != ["delta"]:
            self.events.append(kind)


def _message(kind: type[Kind], asked: Json) -> Kind:
    try:
        return ParseDict(asked.get("request", {}), kind())
    except ParseError as error:
        raise WrongUse(str(error)) from error


def _route_settings(asked: Json) -> RouteSettings:
    request = _message(pb.RouteRequest, asked)
    settings: RouteSettings = {"request_id": request.request_id, "session_id": request.session_id}
    _common(settings, request, asked)
    return settings


def _execute_settings(request: pb.ExecuteRequest | pb.ExecuteStreamRequest, asked: Json) -> ExecuteSettings:
    settings: ExecuteSettings = {"request_id": request.request_id, "session_id": request.session_id}
    _common(settings, request, asked)
    return settings


def _common(settings: RouteSettings | ExecuteSettings, request: Any, asked: Json) -> None:
    if request.HasField("profile"):
        settings["profile"] = request.profile
    if request.HasField("options"):
        settings["options"] = request.options
    if request.HasField("caller"):
        settings["caller"] = request.caller
    if "timeout_seconds" in asked:
        settings["timeout_seconds"] = asked["timeout_seconds"]


def _response(answer: turnout.Answer) -> pb.ExecuteResponse:
    """Returns an answer as the message that it came in."""
    return pb.ExecuteResponse(
        output=pb.ChatOutput(
            parts=answer.parts,
            finish_reason=answer.finish_reason,
            model=answer.model,
            response_id=answer.response_id,
        ),
        target=answer.target,
        usage=answer.usage,
        cost_usd=answer.cost_usd,
        decision=answer.decision,
        attempts=answer.attempts,
        cached=answer.cached,
        notices=answer.notices,
        joined=answer.joined,
    )
