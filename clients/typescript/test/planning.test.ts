import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import {
  AllTargetsUnavailableError,
  type CallOptions,
  ContractError,
  TransportError,
  UnreachableError,
  UsageError,
} from "@turnout/client";
import { FailureKind, type RouteResponse, RouteResponseSchema } from "@turnout/client/v1";
import { StaticOrder } from "#internal/fallback.js";
import { Planner } from "#internal/planner.js";
import { type PlanningParts, planFor } from "#internal/planning.js";
import { decision, outcome, request } from "./plans.js";
import { draws, VirtualTime } from "./virtual.js";

const CHAT = request({ profile: { task: "chat" } });

class World {
  readonly time = new VirtualTime();
  readonly log: string[] = [];
  readonly asked: (CallOptions & { maxRetryCount: number })[] = [];
  answers: (() => RouteResponse)[] = [];
  pressing = false;
  reportArrives = true;
  closed = false;
  readonly parts: PlanningParts;

  constructor(fallback: string[] = []) {
    const world = this;
    this.parts = {
      planner: new Planner({ caching: true, fallback: new StaticOrder(fallback), random: draws(0) }),
      clock: this.time,
      timer: this.time.timer,
      checkRunning: () => {
        if (this.closed) throw new TransportError("closed", { code: "CANCELLED" });
      },
      maxRetryCount: 3,
      reporter: {
        get pressing() {
          return world.pressing;
        },
        sendPressing: async (seconds) => {
          this.log.push(`report within ${seconds}`);
          this.time.now += 0.1;
          if (this.reportArrives) this.pressing = false;
        },
      },
      route: async (options) => {
        this.log.push("route");
        this.asked.push(options);
        const answer = this.answers.shift();
        return answer === undefined ? create(RouteResponseSchema, { decision: decision(["a/m"]) }) : answer();
      },
    };
  }

  plan(options: CallOptions = {}) {
    return planFor(CHAT, options, this.parts);
  }
}

test("a failure is reported before the question", async () => {
  const world = new World();
  await world.plan();
  world.parts.planner.noted([outcome("a/m", FailureKind.TIMEOUT)], world.time.now);
  world.pressing = true;
  const made = await world.plan();

  assert.equal(made.reused, false);
  // There is the last plan to fall back on: a second for both, half of it for the report.
  assert.deepEqual(world.log, ["route", "report within 0.5", "route"]);
  assert.ok(Math.abs(world.asked[1]!.timeoutSeconds! - 0.9) < 1e-9);
  assert.equal((await world.plan()).reused, true);
});

test("the question goes on where the report does not arrive, and its answer serves once", async () => {
  const world = new World();
  world.pressing = true;
  world.reportArrives = false;
  await world.plan();
  await world.plan();

  assert.deepEqual(world.log, ["report within 1", "route", "report within 0.5", "route"]);
});

test("a question without anything to fall back on has its whole time and retries", async () => {
  const world = new World();
  await world.plan({ timeoutSeconds: 7 });

  assert.equal(world.asked[0]!.timeoutSeconds, 7);
  assert.equal(world.asked[0]!.maxRetryCount, 3);
});

test("a question with something to fall back on has a second and no retries", async () => {
  const world = new World(["s/m"]);
  world.answers = [
    () => {
      throw new UnreachableError("refused", { code: "UNAVAILABLE" });
    },
  ];
  const made = await world.plan();

  assert.equal(world.asked[0]!.timeoutSeconds, 1);
  assert.equal(world.asked[0]!.maxRetryCount, 0);
  assert.match(made.staleReason, /fallback/);
  await world.plan();
  assert.equal(world.log.length, 1);
});

test("a sidecar that stays away is asked once a second, until it answers", async () => {
  const world = new World(["s/m"]);
  const away = (): never => {
    throw new UnreachableError("refused", { code: "UNAVAILABLE" });
  };
  world.answers = [away, away, away];
  const stale: boolean[] = [];
  for (let half = 0; half < 8; half += 1) {
    stale.push((await world.plan()).staleReason !== "");
    world.time.now += 0.5;
  }

  assert.equal(world.asked.length, 4);
  assert.deepEqual(stale, [true, true, true, true, true, true, false, false]);
});

test("refusals come out, and so does an answer without a candidate", async () => {
  const world = new World(["s/m"]);
  world.answers = [
    () => {
      throw new AllTargetsUnavailableError("none now", { reason: "ALL_TARGETS_UNAVAILABLE", code: "UNAVAILABLE" });
    },
    () => create(RouteResponseSchema),
  ];

  await assert.rejects(world.plan(), AllTargetsUnavailableError);
  await assert.rejects(world.plan(), ContractError);
});

test("wrong arguments are found before any call", async () => {
  const world = new World();

  await assert.rejects(world.plan({ timeoutSeconds: 0 }), UsageError);
  await assert.rejects(world.plan({ signal: AbortSignal.abort(new Error("stop")) }), /stop/);
  assert.deepEqual(world.log, []);
});
