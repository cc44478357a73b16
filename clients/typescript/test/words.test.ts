import assert from "node:assert/strict";
import { test } from "node:test";
import { chat, parseTarget, targetName, UsageError } from "@turnout/client";
import { Role } from "@turnout/client/v1";
import { durationOf, secondsOf, timestampOf } from "#internal/duration.js";
import { installedInject, traceMetadata } from "#internal/trace.js";

test("targets are split at the first slash and the last at", () => {
  for (const [name, provider, model, endpoint] of [
    ["openai/gpt-4o", "openai", "gpt-4o", ""],
    ["router/meta/llama@eu", "router", "meta/llama", "eu"],
    ["a/b@c@d", "a", "b@c", "d"],
  ] as const) {
    const target = parseTarget(name);
    assert.deepEqual([target.provider, target.model, target.endpoint], [provider, model, endpoint]);
    assert.equal(targetName(target), name);
  }
  for (const wrong of ["", "a", "/b", "a/", "a@b", "a/b@", "a/@b"]) {
    assert.throws(() => parseTarget(wrong), UsageError, wrong);
  }
});

test("a prompt, turns and parts become a chat request", () => {
  const reply = chat("Hi").messages[0]!;
  const made = chat(
    [
      ["system", "Be brief."],
      reply,
      ["user", ["Look:", { content: { case: "image", value: { mediaType: "image/png" } } }]],
    ],
    {
      temperature: 0,
    },
  );

  assert.deepEqual(
    made.messages.map(({ role }) => role),
    [Role.SYSTEM, Role.USER, Role.USER],
  );
  assert.deepEqual(
    made.messages[2]?.parts.map(({ content }) => content.case),
    ["text", "image"],
  );
  assert.equal(made.temperature, 0);
  assert.throws(() => chat([["robot" as "user", "x"]]), /"robot" is not a role.*system, user, assistant, tool/);
});

test("durations keep microseconds, and bounds", () => {
  for (const seconds of [0, 0.000001, 1.5, 60.25]) assert.equal(secondsOf(durationOf(seconds)), seconds);
  assert.deepEqual([durationOf(1.999999).seconds, durationOf(1.999999).nanos], [1n, 999_999_000]);
  assert.equal(secondsOf(durationOf(-1)), 0);
  assert.equal(secondsOf(durationOf(1e9)), 86_400);
  assert.equal(durationOf(0.9999999).seconds, 1n);
  assert.deepEqual([timestampOf(12.25).seconds, timestampOf(12.25).nanos], [12n, 250_000_000]);
});

test("only what the contract accepts of a trace goes along, and nothing that would fail the call", () => {
  assert.deepEqual(traceMetadata(undefined), []);
  assert.deepEqual(
    traceMetadata((carrier) => {
      Object.assign(carrier, { traceparent: "00-1-2-01", b3: "x", baggage: "a".repeat(2049), tracestate: "é" });
    }),
    [["traceparent", "00-1-2-01"]],
  );
  assert.deepEqual(
    traceMetadata(() => {
      throw new Error("a propagator's fault");
    }),
    [],
  );
  assert.ok(installedInject());
});
