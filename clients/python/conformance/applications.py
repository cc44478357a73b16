"""What an application's function does with a target in a case: succeeds, or fails as SDKs fail."""

from __future__ import annotations

from typing import Any

import turnout

Script = dict[str, Any]


class Response:
    """The part of an HTTP response that SDKs hang on their exceptions."""

    def __init__(self, status_code: int, headers: dict[str, str]) -> None:
        self.status_code = status_code
        self.headers = headers


class HttpStatusError(Exception):
    """An HTTP error as SDKs raise it, with its status and response."""

    def __init__(self, status_code: int, headers: dict[str, str]) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code
        self.response = Response(status_code, headers)


class MistakeError(Exception):
    """A mistake in the application's own code."""


class Application:
    """Plays the scripts of one case, by target name or "*", and notes who was called."""

    def __init__(self, scripts: dict[str, Script]) -> None:
        self._scripts = scripts
        self.called: list[str] = []

    async def call(self, attempt: turnout.PlanAttempt) -> None:
        """Does with a target what its script says; a target without one succeeds."""
        self.called.append(attempt.target)
        self._play(self._scripts.get(attempt.target, self._scripts.get("*", {"ok": {}})), attempt)

    def _play(self, script: Script, attempt: turnout.PlanAttempt) -> None:
        if "stream_then" in script:
            attempt.first_token()
            self._play(script["stream_then"], attempt)
        elif "http_status" in script:
            headers = {"retry-after": str(script["retry_after"])} if "retry_after" in script else {}
            raise HttpStatusError(int(script["http_status"]), headers)
        elif script.get("timeout"):
            raise TimeoutError("the provider was silent")
        elif script.get("connection"):
            raise ConnectionResetError("the provider hung up")
        elif script.get("bug"):
            raise MistakeError("a mistake of the application's own")
        else:
            used = script.get("ok", {})
            attempt.usage(input_tokens=used.get("input_tokens"), output_tokens=used.get("output_tokens"))
