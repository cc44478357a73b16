import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { PlanExhaustedError, type PlanFunction, type PlanResult } from "@turnout/client";
import {
  FailureKind,
  MidStreamPolicy,
  type Outcome,
  ProbeSchema,
  type RouteRequestSchema,
  UsageSource,
} from "@turnout/client/v1";
import { secondsOf } from "#internal/duration.js";
import { follow } from "#internal/plan.js";
import { decision, names, request } from "./plans.js";
import { VirtualTime } from "./virtual.js";

const http = (status: number, headers: object = {}): Error =>
  Object.assign(new Error(`HTTP ${status}`), { status, headers });

class World {
  readonly time = new VirtualTime();
  readonly reported: Outcome[] = [];
  readonly called: string[] = [];
  targets = ["a/m", "b/m", "c/m"];
  staleReason = "";
  signal: AbortSignal | undefined;

  follow<T>(call: PlanFunction<T>, asked: MessageInitShape<typeof RouteRequestSchema> = {}): Promise<PlanResult<T>> {
    const made = decision(this.targets, { id: "d1" });
    return follow(
      {
        request: request(asked),
        decision: made,
        candidates: made.candidates,
        reused: false,
        staleReason: this.staleReason,
      },
      (target, signal) => {
        this.called.push(target.name);
        return call(target, signal);
      },
      { clock: this.time, report: (outcome) => this.reported.push(outcome), signal: this.signal },
    );
  }

  get kinds(): string[] {
    return this.reported.map(({ ok, failure }) => (ok ? "ok" : FailureKind[failure]!));
  }
}

test("the first success ends it, and is reported with what it took", async () => {
  const world = new World();
  const { value, target, plan } = await world.follow(async (called) => {
    world.time.now += 0.25;
    called.firstToken();
    world.time.now += 0.5;
    called.firstToken();
    called.usage({ inputTokens: 10, outputTokens: 3, cachedInputTokens: 4 });
    called.outcome.costUsd = 0.5;
    return "done";
  });

  assert.equal(value, "done");
  assert.equal(target.name, "a/m");
  assert.equal(plan.decision.decisionId, "d1");
  assert.deepEqual(world.called, ["a/m"]);
  const [outcome] = world.reported;
  assert.equal(outcome?.ok, true);
  assert.equal(outcome.decisionId, "d1");
  assert.match(outcome.attemptId, /^[0-9a-f-]{36}$/);
  assert.equal(outcome.target?.provider, "a");
  assert.equal(outcome.streamed, true);
  assert.equal(secondsOf(outcome.timeToFirstToken!), 0.25);
  assert.equal(secondsOf(outcome.latency!), 0.75);
  assert.equal(outcome.usage?.inputTokens, 10n);
  assert.equal(outcome.usage.cachedInputTokens, 4n);
  assert.equal(outcome.usage.reasoningTokens, undefined);
  assert.equal(outcome.usage.source, UsageSource.REPORTED);
  assert.equal(outcome.costUsd, 0.5);
  assert.equal(outcome.task, "");
});

test("a failing target is left for the next, and each end is reported", async () => {
  const world = new World();
  const failures = [http(429, { "retry-after": "2" }), http(418)];
  const { value } = await world.follow((target) => {
    const failure = failures.shift();
    if (failure !== undefined) throw failure;
    return target.name;
  });

  assert.equal(value, "c/m");
  assert.deepEqual(world.kinds, ["RATE_LIMITED", "UNKNOWN", "ok"]);
  assert.equal(world.reported[0]?.httpStatus, 429);
  assert.equal(secondsOf(world.reported[0]!.retryAfter!), 2);
  assert.equal(new Set(world.reported.map(({ attemptId }) => attemptId)).size, 3);
});

test("what another target would not help comes out at once, as it was thrown", async () => {
  for (const [error, kind] of [
    [http(400), "INVALID_REQUEST"],
    [Object.assign(http(400), { code: "content_filter" }), "CONTENT_FILTERED"],
    [new DOMException("stop", "AbortError"), "CANCELLED"],
    [new TypeError("x is not a function"), "UNKNOWN"],
  ] as const) {
    const world = new World();
    await assert.rejects(
      world.follow(() => {
        throw error;
      }),
      (thrown) => thrown === error,
    );
    assert.deepEqual([world.called, world.kinds], [["a/m"], [kind]]);
  }
});

test("a prompt too long for one target may fit the next", async () => {
  const world = new World();
  const { target } = await world.follow(({ name }) => {
    if (name === "a/m") throw http(413);
  });

  assert.equal(target.name, "b/m");
});

test("where all targets failed the error says which, with the last exception as its cause", async () => {
  const world = new World();
  const failures: Error[] = [];
  await assert.rejects(
    world.follow(() => {
      failures.push(http(503));
      throw failures.at(-1);
    }),
    (error) =>
      error instanceof PlanExhaustedError &&
      error.decisionId === "d1" &&
      error.cause === failures[2] &&
      /a\/m, b\/m, c\/m/.test(error.message),
  );
  assert.equal(world.reported.length, 3);
});

test("after the first token nothing else is tried; silence is a stall, a lost connection a cut answer", async () => {
  for (const [error, kind] of [
    [new DOMException("late", "TimeoutError"), "STALLED"],
    [Object.assign(new Error("gone"), { code: "ECONNRESET" }), "TRUNCATED"],
    [http(503), "OVERLOADED"],
  ] as const) {
    const world = new World();
    const call: PlanFunction<void> = (target) => {
      target.firstToken();
      throw error;
    };
    await assert.rejects(world.follow(call), (thrown) => thrown === error);
    assert.deepEqual([world.called, world.kinds], [["a/m"], [kind]]);

    const restarting = new World();
    await assert.rejects(
      restarting.follow(call, { options: { midStream: MidStreamPolicy.RESTART } }),
      PlanExhaustedError,
    );
    assert.equal(restarting.called.length, 3);
  }
});

test("a failure that no exception tells of can be told", async () => {
  const world = new World();
  const { value } = await world.follow((target) => {
    if (target.name === "a/m") target.failed(FailureKind.TRUNCATED);
    if (target.name === "b/m") {
      target.failed(FailureKind.OVERLOADED, { httpStatus: 529, retryAfterSeconds: 1 });
      throw new TypeError("what it looks like");
    }
    return target.name;
  });
  assert.equal(value, "c/m");
  assert.deepEqual(world.kinds, ["TRUNCATED", "OVERLOADED", "ok"]);
  assert.equal(world.reported[1]?.httpStatus, 529);

  const stopping = new World();
  await assert.rejects(
    stopping.follow((target) => target.failed(FailureKind.CONTENT_FILTERED)),
    PlanExhaustedError,
  );
  assert.deepEqual(stopping.called, ["a/m"]);
});

test("where the request wants no fallback the first target alone is offered", async () => {
  const world = new World();
  await assert.rejects(
    world.follow(
      () => {
        throw http(503);
      },
      { options: { allowFallback: false } },
    ),
    PlanExhaustedError,
  );

  assert.deepEqual(world.called, ["a/m"]);
});

test("an aborted signal ends it, is reported as cancelled, and reaches the function", async () => {
  const world = new World();
  const aborting = new AbortController();
  world.signal = aborting.signal;
  const stopped = new Error("an SDK's own words for it");
  await assert.rejects(
    world.follow((_target, signal) => {
      assert.equal(signal, aborting.signal);
      aborting.abort(new Error("enough"));
      throw stopped;
    }),
    (error) => error === stopped,
  );
  assert.deepEqual(world.kinds, ["CANCELLED"]);
  await assert.rejects(
    world.follow(() => assert.fail("called")),
    /enough/,
  );
});

test("outcomes of a stale plan say what the sidecar may not know", async () => {
  const world = new World();
  world.staleReason = "away";
  const asked = { profile: { task: "chat" }, sessionId: "s", caller: { tenant: "t" } };
  const { plan } = await world.follow(() => 1, asked);

  assert.equal(plan.stale, true);
  assert.equal(world.reported[0]?.task, "chat");
  assert.equal(world.reported[0]?.sessionId, "s");
  assert.equal(world.reported[0]?.caller?.tenant, "t");
});

test("a trial is reported with its lease", async () => {
  const world = new World();
  const made = decision(["a/m"]);
  made.candidates[0]!.probe = create(ProbeSchema, { probeId: "p1" });
  await follow(
    { request: request(), decision: made, candidates: made.candidates, reused: false, staleReason: "" },
    () => 1,
    { clock: world.time, report: (outcome) => world.reported.push(outcome), signal: undefined },
  );

  assert.equal(world.reported[0]?.probeId, "p1");
  assert.deepEqual(names(made.candidates), ["a/m"]);
});

test("token counts that are none are unknown, and no reason for an answer to be lost", async () => {
  const world = new World();
  const { value, target } = await world.follow((called) => {
    called.usage({
      inputTokens: Number.NaN,
      outputTokens: null as never,
      cachedInputTokens: Number.POSITIVE_INFINITY,
      reasoningTokens: 2.6,
    });
    return "paid for";
  });

  assert.equal(value, "paid for");
  const { usage } = target.outcome;
  assert.deepEqual([usage?.inputTokens, usage?.outputTokens], [undefined, undefined]);
  assert.deepEqual(
    [usage?.cachedInputTokens, usage?.reasoningTokens],
    [BigInt(Number.MAX_SAFE_INTEGER), 3n],
  );
});

test("an exception that cannot be looked at comes out all the same, and is reported", async () => {
  const world = new World();
  const error = Object.defineProperty(new Error("the application's"), "status", {
    get: () => {
      throw new Error("of looking at it");
    },
  });

  await assert.rejects(
    world.follow(() => {
      throw error;
    }),
    (thrown) => thrown === error,
  );
  assert.deepEqual(world.kinds, ["UNKNOWN"]);
});
