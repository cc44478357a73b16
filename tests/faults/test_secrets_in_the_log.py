"""Providers that quote what must not be known, in errors of every status and form: the log of it all has none of it."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import grpc
import orjson

from tests.faults.cases import TRACED
from tests.faults.sidecar import KEY, QUICK, Place, logged, running
from tests.wire.scripted_server import Head, Script, scripted_server
from turnout.v1 import router_pb2 as pb

STATUSES = (400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 529)
SAYINGS = (
    "Incorrect API key provided: {key}. You can find your key at https://vendor.example/keys.",
    "Authorization: Bearer {key} is not valid for x-api-key={key}",
    "The prompt '{prompt}' was refused by our policy",
    "failed to fetch http://someone:{password}@proxy.example:3128/v1?key={key}",
    "\n{prompt}\n\x1b[31mred {{'api_key': '{key}'}} \u2028",
)
FORMS = ("openai", "plain", "html", "list")
WORDS = ("signal", "junction", "ballast", "sleeper", "platform", "gauge", "shunting", "timetable", "viaduct", "cutting")
ROUNDS = 60


def body(form: str, saying: str) -> tuple[str, bytes]:
    match form:
        case "openai":
            return "application/json", orjson.dumps({"error": {"message": saying, "type": "odd", "code": saying}})
        case "list":
            return "application/json", orjson.dumps({"detail": [{"loc": ["body", saying], "msg": saying}]})
        case "html":
            return "text/html", f"<html><title>{saying}</title></html>".encode()
        case _:
            return "text/plain", saying.encode()


async def test_nothing_that_providers_quote_is_in_the_log() -> None:
    rng = random.Random(8)
    met = rng.sample(list(itertools.product(STATUSES, SAYINGS, FORMS)), ROUNDS)
    prompts, passwords = [], []
    async with scripted_server() as server:
        places = [Place(name=f"p-{number}", wire="openai", base_url=f"{server.url}/v1") for number in range(len(met))]
        with logged() as log:
            async with running(places, replace(QUICK, max_attempts=1)) as sidecar:
                for number, (status, saying, form) in enumerate(met):
                    prompt = " ".join(rng.choices(WORDS, k=12)) + f" {rng.getrandbits(64):x}"
                    password = f"pw{rng.getrandbits(64):x}"
                    prompts.append(prompt)
                    passwords.append(password)
                    kind, data = body(form, saying.format(key=KEY, prompt=prompt, password=password))
                    refusal: Script = (Head(status=status, headers=(("content-type", kind),), length=len(data)), data)
                    # A target that is tried again is refused again.
                    server.scripts[:] = [refusal] * 4
                    request = pb.ExecuteRequest(
                        input=pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=prompt)])]),
                        options=pb.RoutingOptions(force_target=f"p-{number}/m"),
                    )
                    try:
                        await sidecar.stub.Execute(request, timeout=60, metadata=TRACED)
                    except grpc.aio.AioRpcError as error:
                        assert KEY not in (error.details() or "")
                    else:
                        raise AssertionError("it was refused")

    text = log.getvalue()
    lines = [orjson.loads(line) for line in text.splitlines()]
    assert len([line for line in lines if line["event"] == "call"]) == ROUNDS
    assert KEY not in text
    assert "Bearer sk" not in text
    assert [password for password in passwords if password in text] == []
    # Any four words of a prompt in a row are a quotation, and so is its number.
    runs = {" ".join(few) for prompt in prompts for few in zip(*(prompt.split()[n:] for n in range(4)), strict=False)}
    assert [run for run in runs if run in text] == []
    assert [prompt for prompt in prompts if prompt.split()[-1] in text] == []
