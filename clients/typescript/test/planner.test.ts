import assert from "node:assert/strict";
import { test } from "node:test";
import { DrainingError, NoEligibleTargetError, TransportError, UnreachableError, UsageError } from "@turnout/client";
import { FailureKind } from "@turnout/client/v1";
import { type Fallback, StaticOrder } from "#internal/fallback.js";
import { type Choice, Planner } from "#internal/planner.js";
import type { Asking } from "#internal/questions.js";
import { decision, names, outcome, request } from "./plans.js";
import { draws } from "./virtual.js";

const CHAT = request({ profile: { task: "chat" } });
const AWAY = new UnreachableError("refused", { code: "UNAVAILABLE" });

function planner(fallback: Fallback = [], caching = true): Planner {
  return new Planner({ caching, fallback: new StaticOrder(fallback), random: draws(0) });
}

function asking(made: Choice | Asking): Asking {
  assert.ok("fallsBack" in made, "a question was expected");
  return made;
}

function choice(made: Choice | Asking | undefined): Choice {
  assert.ok(made !== undefined && "decision" in made, "a plan was expected");
  return made;
}

/** Asks and answers. */
function learn(plans: Planner, asked = CHAT, targets = ["a/m", "b/m"], now = 0): Choice {
  const question = asking(plans.start(asked, now));
  const made = plans.answered(question, { sentAt: now, uninformed: false }, decision(targets), now);
  plans.end(question);
  return made;
}

/** Asks and meets nobody. */
function miss(plans: Planner, asked = CHAT, now = 0, error = AWAY): Choice | undefined {
  const question = asking(plans.start(asked, now));
  const made = plans.failed(question, error, now);
  plans.end(question);
  return made;
}

test("a plan is used again, without a question, until it ends", () => {
  const plans = planner();
  const first = learn(plans);

  assert.equal(first.reused, false);
  const again = choice(plans.start(CHAT, 9.9));
  assert.equal(again.reused, true);
  assert.equal(again.staleReason, "");
  asking(plans.start(CHAT, 10));
});

test("the cache can be switched off, with everything that is kept", () => {
  const plans = planner([], false);
  learn(plans);

  assert.equal(asking(plans.start(CHAT, 1)).fallsBack, false);
  assert.equal(miss(plans, CHAT, 1), undefined);
  assert.deepEqual(names(choice(miss(planner(["s/m"], false))).candidates), ["s/m"]);
});

test("a failure leads to a question, and a harmless one does not", () => {
  const plans = planner();
  learn(plans);
  plans.noted([outcome("b/m", FailureKind.INVALID_REQUEST), outcome("b/m"), outcome("x/m", FailureKind.TIMEOUT)], 1);
  choice(plans.start(CHAT, 1));
  plans.noted([outcome("b/m", FailureKind.TIMEOUT)], 1);

  asking(plans.start(CHAT, 1));
});

test("an answer that was asked for before a failure serves once only", () => {
  const plans = planner();
  const question = asking(plans.start(CHAT, 0));
  plans.noted([outcome("b/m", FailureKind.TIMEOUT)], 0);
  plans.answered(question, { sentAt: 0, uninformed: false }, decision(["a/m", "b/m"]), 0);
  plans.end(question);

  asking(plans.start(CHAT, 0));
});

test("an answer by a sidecar that may not know of a failure serves once only", () => {
  const plans = planner();
  const question = asking(plans.start(CHAT, 0));
  plans.answered(question, { sentAt: 0, uninformed: true }, decision(["a/m"]), 0);

  asking(plans.start(CHAT, 0));
});

test("with something to fall back on a question has a second", () => {
  const plans = planner();
  const question = asking(plans.start(CHAT, 0, 2));

  assert.equal(question.fallsBack, false);
  assert.equal(question.endsAt, 2);
  learn(plans);
  const later = asking(plans.start(CHAT, 20));
  assert.equal(later.fallsBack, true);
  assert.equal(later.endsAt, 21);
  assert.equal(asking(plans.start(CHAT, 20, 0.5)).endsAt, 20.5);
});

test("while the sidecar is away the last plan serves, then that of the task, then the fixed order", () => {
  const plans = planner({ chat: ["s/chat"], "": ["s/m"] });
  learn(plans);

  const same = choice(miss(plans, CHAT, 1000));
  assert.deepEqual(names(same.candidates), ["a/m", "b/m"]);
  assert.equal(same.reused, false);
  assert.match(same.staleReason, /refused.*the last plan for this request, 1000\.0 s old/);
  const other = request({ profile: { task: "chat", textHint: "x" } });
  assert.match(choice(plans.start(other, 1000)).staleReason, /another request of task "chat"/);
  const fixed = choice(plans.start(request({ profile: { task: "chat" }, caller: { tenant: "t" } }), 1000));
  assert.deepEqual(names(fixed.candidates), ["s/chat"]);
  assert.match(fixed.staleReason, /the client's fallback/);
  assert.deepEqual(names(choice(plans.start(request(), 1000)).candidates), ["s/m"]);
});

test("without anything to fall back on the error comes out", () => {
  assert.equal(miss(planner()), undefined);
});

test("another request's plan and the fixed order are held to the request's own limits", () => {
  const plans = planner(["s/m", "t/m"]);
  learn(plans);
  const stale = (options: object): string[] | undefined => {
    const made = plans.start(request({ profile: { task: "chat" }, options }), 0);
    const question = "fallsBack" in made ? plans.failed(made, AWAY, 0) : made;
    if ("fallsBack" in made) plans.end(made);
    return question && names(question.candidates);
  };
  miss(plans, request({ profile: { task: "z" } }));

  assert.deepEqual(stale({ exclude: ["a"] }), ["b/m"]);
  assert.deepEqual(stale({ include: ["b/m"] }), ["b/m"]);
  assert.deepEqual(stale({ forceTarget: "t/m" }), ["t/m"]);
  assert.deepEqual(stale({ exclude: ["a/m", "b"] }), ["s/m", "t/m"]);
  assert.equal(stale({ regions: ["eu"] }), undefined);
});

test("refusals are answers", () => {
  const plans = planner(["s/m"]);
  const refusal = new NoEligibleTargetError("none", { reason: "NO_ELIGIBLE_TARGET", code: "FAILED_PRECONDITION" });

  assert.equal(miss(plans, CHAT, 0, refusal), undefined);
  assert.equal(miss(plans, CHAT, 0, new TransportError("odd", { code: "INTERNAL" })), undefined);
  assert.ok(miss(plans, CHAT, 0, new DrainingError("bye", { reason: "DRAINING", code: "UNAVAILABLE" })));
});

test("after a failure nobody asks for a second, then one does while others go on", () => {
  const plans = planner(["s/m"]);
  miss(plans, CHAT, 0);

  choice(plans.start(CHAT, 0.99));
  const one = asking(plans.start(CHAT, 1));
  choice(plans.start(CHAT, 1));
  assert.ok(plans.failed(one, AWAY, 1.5));
  plans.end(one);
  choice(plans.start(CHAT, 2.49));
  const next = asking(plans.start(CHAT, 2.5));
  plans.answered(next, { sentAt: 2.5, uninformed: false }, decision(["a/m"]), 2.6);
  plans.end(next);
  assert.equal(choice(plans.start(CHAT, 3)).reused, true);
  // It is back: everybody asks again.
  asking(plans.start(request(), 3));
  asking(plans.start(request(), 3));
});

test("in a stale plan targets that failed within 30 s go last, the order is otherwise kept", () => {
  const plans = planner(["a/m", "b/m", "c/m", "d/m"]);
  plans.noted([outcome("c/m", FailureKind.TIMEOUT), outcome("a/m", FailureKind.TIMEOUT)], 100);

  assert.deepEqual(names(choice(miss(plans, CHAT, 129.9)).candidates), ["b/m", "d/m", "a/m", "c/m"]);
  assert.deepEqual(names(choice(miss(plans, CHAT, 140)).candidates), ["a/m", "b/m", "c/m", "d/m"]);
});

test("a fixed order that cannot be one is refused when the client is made", () => {
  for (const [wrong, words] of [
    [["openai"], /fallback\[0\]: "openai" names no target/],
    [{ chat: ["a/b", "/x"] }, /fallback\["chat"\]\[1\]/],
    [{ "": "a/b" }, /fallback is no list of targets/],
    [["a/b@"], /names no target/],
    [Array.from({ length: 257 }, () => "a/b"), /257 targets: give at most 256/],
  ] as const) {
    assert.throws(
      () => new StaticOrder(wrong as unknown as Fallback),
      (error) => error instanceof UsageError && words.test(error.message),
    );
  }
});
