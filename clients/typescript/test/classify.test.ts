import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { classify } from "@turnout/client";
import { FailureKind } from "@turnout/client/v1";
import { KINDS_BY_CODE, KINDS_BY_STATUS } from "#internal/classify.js";

const NOW = 1_700_000_000;

function kind(error: unknown): string {
  return FailureKind[classify(error, NOW).kind]!;
}

function http(status: number, more: object = {}): Error {
  return Object.assign(new Error(`HTTP ${status}`), { status, ...more });
}

test("a status tells the kind, wherever the error carries it", () => {
  for (const [status, expected] of KINDS_BY_STATUS) {
    for (const error of [
      http(status),
      Object.assign(new Error("x"), { statusCode: status }),
      Object.assign(new Error("x"), { response: { status } }),
      Object.assign(new Error("x"), { response: { statusCode: status } }),
      new Error("wrapped", { cause: http(status) }),
    ]) {
      assert.deepEqual([classify(error, NOW).kind, classify(error, NOW).httpStatus], [expected, status]);
    }
  }
  assert.equal(kind(http(500)), "SERVER_ERROR");
  assert.equal(kind(http(599)), "SERVER_ERROR");
  assert.equal(kind(http(418)), "UNKNOWN");
  assert.equal(classify(http(200), NOW).httpStatus, undefined);
});

test("a vendor's own code says more than the status", () => {
  for (const [code, expected] of KINDS_BY_CODE) {
    for (const more of [
      { code },
      { type: code },
      { error: { code } },
      { error: { type: "error", error: { type: code } } },
      { body: { error: { type: code } } },
      { response: { data: { error: { code } } } },
    ]) {
      assert.equal(classify(http(400, more), NOW).kind, expected, JSON.stringify(more));
    }
  }
  assert.equal(kind(Object.assign(http(400), { message: "prompt is too long: 210000 tokens" })), "CONTEXT_LENGTH");
});

test("Node's own errors are told by their codes", () => {
  const withCode = (code: string): Error => Object.assign(new Error(code), { code });

  for (const code of [
    "ECONNREFUSED",
    "ECONNRESET",
    "ENOTFOUND",
    "EAI_AGAIN",
    "UND_ERR_SOCKET",
    "ERR_TLS_CERT_ALTNAME_INVALID",
  ]) {
    assert.equal(kind(new TypeError("fetch failed", { cause: withCode(code) })), "CONNECTION", code);
  }
  for (const code of ["ETIMEDOUT", "UND_ERR_HEADERS_TIMEOUT", "UND_ERR_CONNECT_TIMEOUT"]) {
    assert.equal(kind(withCode(code)), "TIMEOUT", code);
  }
  assert.equal(kind(withCode("HPE_INVALID_CONSTANT")), "PROTOCOL");
  assert.equal(kind(new AggregateError([withCode("ECONNREFUSED")], "all failed")), "CONNECTION");
});

test("timeouts and cancellation are told by the names of the language", () => {
  assert.equal(kind(new DOMException("late", "TimeoutError")), "TIMEOUT");
  assert.equal(kind(new DOMException("stopped", "AbortError")), "CANCELLED");
  assert.equal(kind(new Error("x", { cause: new DOMException("stopped", "AbortError") })), "CANCELLED");
});

test("what says nothing of a provider is unknown, whatever it is", () => {
  const circle: { cause?: unknown } = new Error("round");
  circle.cause = circle;

  for (const error of [new TypeError("x is undefined"), "text", undefined, null, 7, {}, circle]) {
    assert.deepEqual(classify(error, NOW), { kind: FailureKind.UNKNOWN });
  }
});

test("how long a provider asks to wait", () => {
  const after = (headers: object): number | undefined => classify(http(429, { headers }), NOW).retryAfterSeconds;

  assert.equal(after(new Headers({ "retry-after": "2" })), 2);
  assert.equal(after({ "Retry-After": "1.5" }), 1.5);
  assert.equal(after({ "retry-after": 3 }), 3);
  assert.equal(after({ "retry-after-ms": "250", "retry-after": "9" }), 0.25);
  assert.equal(after({ "retry-after": "99999" }), 3600);
  assert.equal(after({ "retry-after": new Date((NOW + 30) * 1000).toUTCString() }), 30);
  assert.equal(after({ "retry-after": new Date((NOW - 30) * 1000).toUTCString() }), undefined);
  for (const odd of ["soon", "-1", "nan", "1e3", ""]) assert.equal(after({ "retry-after": odd }), undefined, odd);
  assert.equal(after({}), undefined);
});

test("the official SDKs' own errors, from a real server", async () => {
  let status = 500;
  let body: object = {};
  const server = createServer((_request, response) => {
    if (status === 0) response.destroy();
    else if (status > 0)
      response.writeHead(status, { "content-type": "application/json", "retry-after": "4" }).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const openai = new OpenAI({ baseURL, apiKey: "k", maxRetries: 0 });
  const anthropic = new Anthropic({ baseURL, apiKey: "k", maxRetries: 0 });
  const messages = [{ role: "user" as const, content: "x" }];
  const calls = [
    (options: object) => openai.chat.completions.create({ model: "m", messages }, options),
    (options: object) => anthropic.messages.create({ model: "m", max_tokens: 5, messages }, options),
  ];
  const failed = async (call: (options: object) => Promise<unknown>, options: object = {}): Promise<unknown> =>
    call(options).then(
      () => assert.fail("it did not fail"),
      (error: unknown) => error,
    );
  try {
    for (const call of calls) {
      status = 429;
      body = { type: "error", error: { type: "rate_limit_error", code: "rate_limit_exceeded", message: "slow" } };
      assert.deepEqual(classify(await failed(call), NOW), {
        kind: FailureKind.RATE_LIMITED,
        httpStatus: 429,
        retryAfterSeconds: 4,
      });
      body = { type: "error", error: { type: "insufficient_quota", code: "insufficient_quota", message: "broke" } };
      assert.equal(kind(await failed(call)), "QUOTA_EXHAUSTED");
      status = 0;
      assert.equal(kind(await failed(call)), "CONNECTION");
      status = -1;
      assert.equal(kind(await failed(call, { timeout: 50 })), "TIMEOUT");
      assert.equal(kind(await failed(call, { signal: AbortSignal.abort() })), "CANCELLED");
    }
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
