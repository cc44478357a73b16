/** Of callers who want the same plan at the same time one asks; the others wait, and nobody pays for another's fate. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { DeadlineError, NoEligibleTargetError, TransportError, type TurnoutError, UnreachableError } from "@turnout/client";
import { type Decision, FailureKind, RouteResponseSchema } from "@turnout/client/v1";
import { StaticOrder } from "#internal/fallback.js";
import { type Choice, Planner } from "#internal/planner.js";
import { type PlanningParts, planFor } from "#internal/planning.js";
import type { Asking } from "#internal/questions.js";
import { decision, names, outcome, request } from "./plans.js";
import { draws, settled, VirtualTime } from "./virtual.js";

const CHAT = request({ profile: { task: "chat" } });
const PLAN = decision(["a/m", "b/m"], { validFor: 3600, shares: [0.5, 0.5] });
const AWAY = new UnreachableError("refused", { code: "UNAVAILABLE" });
const REFUSED = new NoEligibleTargetError("none", { reason: "NO_ELIGIBLE_TARGET", code: "FAILED_PRECONDITION" });

function planner(fallback: string[] = [], caching = true): Planner {
  return new Planner({ caching, fallback: new StaticOrder(fallback), random: draws(0.1, 0.9) });
}

function asking(made: Choice | Asking): Asking {
  assert.ok("fallsBack" in made, "a question was expected");
  return made;
}

function ask(plans: Planner, now = 0, seconds = 2, asked = CHAT): Asking {
  return asking(plans.start(asked, now, seconds));
}

function answer(plans: Planner, question: Asking, made: Decision = PLAN): void {
  plans.answered(question, { sentAt: 0, uninformed: false }, made, 0);
  plans.end(question);
}

function ofTokens(count?: number) {
  return request({ profile: count === undefined ? {} : { inputTokens: BigInt(count) } });
}

test("an equal question waits, and is served by the answer as a plan that is used again", () => {
  const plans = planner();
  const leader = ask(plans);
  const waiting = [ask(plans), ask(plans)];
  assert.deepEqual(
    waiting.map(({ waitsFor }) => waitsFor === leader),
    [true, true],
  );

  answer(plans, leader);
  const served = waiting.map((each) => plans.again(each, 0) as Choice);

  assert.deepEqual(
    served.map(({ reused }) => reused),
    [true, true],
  );
  assert.deepEqual(
    served.map(({ candidates }) => names(candidates)[0]),
    ["a/m", "b/m"],
  );
});

test("only a question whose plan would serve is waited for", () => {
  const joins = (count?: number, caching = true): boolean => {
    const plans = planner([], caching);
    const leader = ask(plans, 0, 2, ofTokens(10));
    return ask(plans, 0, 2, ofTokens(count)).waitsFor === leader;
  };

  assert.deepEqual([joins(10), joins(9), joins(11), joins(), joins(10, false)], [true, true, false, false, false]);
  const plans = planner();
  const small = ask(plans, 0, 2, ofTokens(10));
  const large = ask(plans, 0, 2, ofTokens(20));
  plans.end(small);
  assert.equal(ask(plans, 0, 2, ofTokens(15)).waitsFor, large);
});

test("what serves its asker alone is asked for by all at once, and not waited for again", () => {
  const plans = planner();
  const leader = ask(plans);
  const waiting = [ask(plans), ask(plans)];
  answer(plans, leader, decision(["a/m"], { reusable: false }));

  for (const each of waiting) assert.equal(asking(plans.again(each, 0)).waitsFor, undefined);
  assert.equal(ask(plans).waitsFor, undefined);
});

test("an error is its asker's alone, but that the sidecar is away is so for all who have something else", () => {
  for (const error of [REFUSED, AWAY] as TurnoutError[]) {
    const plans = planner();
    const leader = ask(plans);
    const waiting = [ask(plans), ask(plans)];
    assert.equal(plans.failed(leader, error, 0), undefined);
    plans.end(leader);
    for (const each of waiting) assert.equal(asking(plans.again(each, 0)).waitsFor, undefined);
  }
  const plans = planner(["c/m"]);
  const [leader, waiting] = [ask(plans), ask(plans)];
  plans.failed(leader, AWAY, 0);
  plans.end(leader);
  assert.match((plans.again(waiting, 0) as Choice).staleReason, /fallback/);
});

test("where the leader goes away one takes over", () => {
  const plans = planner();
  const [leader, heir, other] = [ask(plans), ask(plans), ask(plans)];
  plans.end(leader);

  assert.equal(asking(plans.again(heir, 0)).waitsFor, undefined);
  assert.equal(asking(plans.again(other, 0)).waitsFor, heir);
  plans.end(other);
  plans.end(heir);
  assert.equal(plans.questionCount, 0);
});

test("a failure after the question was put voids its answer for those who wait", () => {
  const plans = planner();
  const leader = ask(plans);
  plans.noted([outcome("b/m", FailureKind.TIMEOUT)], 0);
  const [first, second] = [ask(plans), ask(plans)];
  answer(plans, leader);

  assert.equal(asking(plans.again(first, 0)).waitsFor, undefined);
  assert.equal(asking(plans.again(second, 0)).waitsFor, first);
  answer(plans, first);
  assert.equal((plans.again(second, 0) as Choice).reused, true);
});

test("nobody waits longer than half of his time, nor for who has less", () => {
  const plans = planner();
  const leader = ask(plans, 0, 2);
  const waiting = ask(plans, 0.5, 3);
  assert.equal(waiting.waitsFor, leader);
  assert.equal(waiting.waitUntil, 2);
  const patient = ask(plans, 0.5, 3.5);
  assert.equal(patient.waitsFor, undefined);
  assert.equal(asking(plans.again(waiting, 2)).waitsFor, patient);
  assert.equal(asking(plans.again(waiting, 2.5)).waitsFor, undefined, "a third time he asks");

  const short = planner(["c/m"]);
  ask(short, 0, 60);
  const falling = ask(short, 0.25, 60);
  assert.deepEqual([falling.waitUntil, falling.endsAt], [0.75, 1.25]);
});

test("who asked in what was left and came too late follows the answer that another had", () => {
  for (const fallback of [[], ["c/m"]]) {
    const plans = planner(fallback);
    const [leader, heir] = [ask(plans, 0, 1), ask(plans, 0, 1)];
    asking(plans.again(heir, 0.5));
    answer(plans, leader);
    const found = plans.failed(heir, new DeadlineError("late", { code: "DEADLINE_EXCEEDED" }), 1);
    plans.end(heir);

    assert.deepEqual([found?.reused, found?.staleReason], [true, ""]);
    // The sidecar answered: it is away for nobody.
    assert.equal(ask(plans, 1, 1, request({ profile: { task: "other" } })).alone, false);
  }
});

/** A sidecar whose answers a test gives, and a client of it on a clock that a test moves. */
class World {
  readonly time = new VirtualTime();
  readonly plans = planner();
  readonly routes: { resolve: (made: Decision) => void; reject: (error: Error) => void }[] = [];
  closed = false;

  plan(signal?: AbortSignal, timeoutSeconds = 2): Promise<Choice> {
    const parts: PlanningParts = {
      planner: this.plans,
      clock: this.time,
      timer: this.time.timer,
      maxRetryCount: 3,
      checkRunning: () => {
        if (this.closed) throw new TransportError("closed", { code: "CANCELLED" });
      },
      reporter: { pressing: false, sendPressing: () => Promise.resolve() },
      route: ({ signal: ends }) =>
        new Promise((resolve, reject) => {
          ends?.addEventListener("abort", () => {
            reject(ends.reason as Error);
          });
          this.routes.push({
            resolve: (made) => {
              resolve(create(RouteResponseSchema, { decision: made }));
            },
            reject,
          });
        }),
    };
    const made = planFor(CHAT, { timeoutSeconds, ...(signal === undefined ? {} : { signal }) }, parts);
    made.catch(() => {});
    return made;
  }
}

test("many callers at once make one Route", async () => {
  const world = new World();
  const callers = Array.from({ length: 500 }, () => world.plan());
  await settled();
  assert.equal(world.routes.length, 1);
  world.routes[0]!.resolve(PLAN);
  const made = await Promise.all(callers);

  assert.equal(made.filter(({ reused }) => reused).length, 499);
  assert.equal(world.routes.length, 1);
  assert.equal(world.time.nextSeconds, undefined, "a timer is left");
  assert.equal(world.plans.questionCount, 0);
});

test("when the leader is cancelled one takes over, and the others have their plan", async () => {
  const world = new World();
  const stop = new AbortController();
  const leader = world.plan(stop.signal);
  const others = Array.from({ length: 10 }, () => world.plan());
  stop.abort(new Error("stop"));
  await assert.rejects(leader, /stop/);
  await settled();
  assert.equal(world.routes.length, 2);
  world.routes[1]!.resolve(PLAN);

  for (const made of await Promise.all(others)) assert.equal(made.staleReason, "");
  assert.equal(world.routes.length, 2);
});

test("a cancelled waiter ends at once and leaves the leader alone", async () => {
  const world = new World();
  const leader = world.plan();
  const stop = new AbortController();
  const waiter = world.plan(stop.signal);
  await settled();
  stop.abort(new Error("stop"));

  await assert.rejects(waiter, /stop/);
  assert.equal(world.time.nextSeconds, undefined, "a timer is left");
  world.routes[0]!.resolve(PLAN);
  assert.equal((await leader).reused, false);
});

test("after half of the time one asks beside a leader who hears nothing", async () => {
  const world = new World();
  const leader = world.plan();
  const others = [world.plan(), world.plan()];
  await world.time.pass(1);
  assert.equal(world.routes.length, 2);
  world.routes[1]!.resolve(PLAN);

  assert.deepEqual(
    (await Promise.all(others)).map(({ reused }) => reused),
    [false, true],
  );
  world.routes[0]!.resolve(PLAN);
  assert.equal((await leader).reused, false);
});

test("closing the client ends the wait", async () => {
  const world = new World();
  const leader = world.plan();
  const waiter = world.plan();
  await settled();
  world.closed = true;
  world.routes[0]!.reject(new TransportError("closed", { code: "CANCELLED" }));

  await assert.rejects(leader, TransportError);
  await assert.rejects(waiter, TransportError);
  assert.equal(world.routes.length, 1);
});
