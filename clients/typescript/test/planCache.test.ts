import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMessage } from "@bufbuild/protobuf";
import { MAX_PLAN_COUNT, PlanCache, planKey, tokensOf } from "#internal/planCache.js";
import { FailureKind, ProbeSchema, RouteRequestSchema, Strategy } from "@turnout/client/v1";
import { speaksAgainst } from "#internal/seenFailures.js";
import { decision, names, outcome, request } from "./plans.js";
import { draws } from "./virtual.js";

const NONE = { input: undefined, output: undefined };

test("the key leaves out request id and tokens, and nothing else", () => {
  const asked = request({ profile: { task: "chat" }, caller: { tenant: "a" } });

  for (const equal of [
    request({ ...asked, requestId: "7" }),
    request({ profile: { task: "chat", inputTokens: 5n, maxOutputTokens: 9n }, caller: { tenant: "a" } }),
  ]) {
    assert.equal(planKey(equal), planKey(asked));
  }
  for (const other of [
    request({ profile: { task: "chat" } }),
    request({ profile: { task: "chat", textHint: "x" }, caller: { tenant: "a" } }),
    request({ profile: { task: "chat" }, caller: { tenant: "a" }, options: { strategy: Strategy.COST } }),
    request({ profile: { task: "chat" }, caller: { tenant: "a" }, sessionId: "s" }),
    request({ profile: { task: "chat" }, caller: { tenant: "a", labels: { x: "1" } } }),
  ]) {
    assert.notEqual(planKey(other), planKey(asked));
  }
  assert.equal(asked.requestId, "");
});

test("the order of labels does not matter", () => {
  const one = request({ caller: { labels: { a: "1", b: "2" } } });
  const other = request({ caller: { labels: { b: "2", a: "1" } } });

  assert.equal(planKey(one), planKey(other));
  assert.notEqual(planKey(one), planKey(request({ caller: { labels: { a: "2", b: "1" } } })));
});

test("the labels are the only map in a request, so that sorting them makes its bytes one", () => {
  const maps: string[] = [];
  const seen = new Set<string>();
  const walk = (message: DescMessage): void => {
    if (seen.has(message.typeName)) return;
    seen.add(message.typeName);
    for (const field of message.fields) {
      if (field.fieldKind === "map") maps.push(`${message.typeName}.${field.name}`);
      else if (field.message !== undefined) walk(field.message);
    }
  };
  walk(RouteRequestSchema);

  assert.deepEqual(maps, ["turnout.v1.Caller.labels"]);
});

test("a kept plan serves requests with no more tokens", () => {
  const cache = new PlanCache(draws(0));
  const serves = (kept: object, asked: object): boolean => {
    cache.keep("k", tokensOf(request({ profile: kept })), decision(["a/m"]), 0);
    return cache.find("k", tokensOf(request({ profile: asked })), 1) !== undefined;
  };

  assert.equal(serves({ inputTokens: 10n, maxOutputTokens: 5n }, { inputTokens: 10n, maxOutputTokens: 5n }), true);
  assert.equal(serves({ inputTokens: 10n, maxOutputTokens: 5n }, { inputTokens: 0n, maxOutputTokens: 4n }), true);
  assert.equal(serves({ inputTokens: 10n }, { inputTokens: 11n }), false);
  assert.equal(serves({ inputTokens: 10n, maxOutputTokens: 5n }, { inputTokens: 10n, maxOutputTokens: 6n }), false);
  assert.equal(serves({}, {}), true);
  assert.equal(serves({ inputTokens: 10n }, {}), false);
  assert.equal(serves({}, { inputTokens: 1n }), false);
});

test("a plan ends when so much time has passed since it was asked for", () => {
  const cache = new PlanCache(draws(0));
  cache.keep("k", NONE, decision(["a/m"], { validFor: 10 }), 100);

  assert.ok(cache.find("k", NONE, 109.999));
  assert.equal(cache.find("k", NONE, 110), undefined);
  assert.equal(cache.size, 0);
});

test("what may not be used again is not kept, and takes the place of what was", () => {
  const cache = new PlanCache(draws(0));
  for (const once of [decision(["a/m"], { reusable: false }), decision(["a/m"], { validFor: 0 }), decision([])]) {
    cache.keep("k", NONE, decision(["a/m"]), 0);
    cache.keep("k", NONE, once, 0);

    assert.equal(cache.find("k", NONE, 0), undefined);
  }
});

test("at most 256 plans are kept, and the least recently used goes", () => {
  const cache = new PlanCache(draws(0));
  for (let place = 0; place < MAX_PLAN_COUNT; place += 1) cache.keep(`k${place}`, NONE, decision(["a/m"]), 0);
  cache.find("k0", NONE, 1);
  cache.keep("new", NONE, decision(["a/m"]), 1);

  assert.equal(MAX_PLAN_COUNT, 256);
  assert.equal(cache.size, 256);
  assert.ok(cache.find("k0", NONE, 1));
  assert.equal(cache.find("k1", NONE, 1), undefined);
});

test("the first target is drawn by the shares of those listed, the others follow in order", () => {
  const order = (random: number, shares: number[]): string[] => {
    const cache = new PlanCache(draws(random));
    cache.keep("k", NONE, decision(["a/m", "b/m", "c/m"], { shares }), 0);
    return names(cache.find("k", NONE, 0)!.candidates);
  };

  // Of 0.8 in all: a to 0.25, b to 0.75, c beyond.
  assert.deepEqual(order(0.24, [0.2, 0.4, 0.2]), ["a/m", "b/m", "c/m"]);
  assert.deepEqual(order(0.26, [0.2, 0.4, 0.2]), ["b/m", "a/m", "c/m"]);
  assert.deepEqual(order(0.74, [0.2, 0.4, 0.2]), ["b/m", "a/m", "c/m"]);
  assert.deepEqual(order(0.76, [0.2, 0.4, 0.2]), ["c/m", "a/m", "b/m"]);
  assert.deepEqual(order(0.999, [1, 0, 0]), ["a/m", "b/m", "c/m"]);
  assert.deepEqual(order(0, [0, 0, 1]), ["c/m", "a/m", "b/m"]);
  assert.deepEqual(order(0.9, [0, 0, 0]), ["a/m", "b/m", "c/m"]);
  assert.deepEqual(order(0.9999999999999999, [0.1, 0.2, 0]), ["b/m", "a/m", "c/m"]);
});

test("a failed target takes every plan with it, and no other", () => {
  const cache = new PlanCache(draws(0));
  cache.keep("one", NONE, decision(["a/m", "b/m"]), 0);
  cache.keep("two", NONE, decision(["c/m", "b/m"]), 0);
  cache.keep("three", NONE, decision(["a/m"]), 0);
  cache.drop("b/m");

  assert.equal(cache.find("one", NONE, 0), undefined);
  assert.equal(cache.find("two", NONE, 0), undefined);
  assert.ok(cache.find("three", NONE, 0));
});

test("a trial's lease is not handed out twice", () => {
  const cache = new PlanCache(draws(0));
  const leased = decision(["a/m"]);
  leased.candidates[0]!.probe = create(ProbeSchema, { probeId: "p" });
  cache.keep("k", NONE, leased, 0);

  assert.equal(cache.find("k", NONE, 0)!.candidates[0]!.probe, undefined);
  assert.equal(leased.candidates[0]!.probe?.probeId, "p");
});

test("which failures speak against a target", () => {
  const against = Object.values(FailureKind).filter(
    (kind): kind is FailureKind => typeof kind === "number" && speaksAgainst(outcome("a/m", kind)),
  );

  assert.deepEqual(
    against.map((kind) => FailureKind[kind]),
    [
      "RATE_LIMITED",
      "OVERLOADED",
      "QUOTA_EXHAUSTED",
      "AUTHENTICATION",
      "PERMISSION_DENIED",
      "MODEL_NOT_FOUND",
      "TIMEOUT",
      "STALLED",
      "TRUNCATED",
      "CONNECTION",
      "SERVER_ERROR",
      "PROTOCOL",
    ],
  );
  assert.equal(speaksAgainst(outcome("a/m", FailureKind.UNKNOWN, 418)), true);
  assert.equal(speaksAgainst(outcome("a/m")), false);
});
