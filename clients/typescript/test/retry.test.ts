import assert from "node:assert/strict";
import { test } from "node:test";
import * as errors from "@turnout/client";
import { EXECUTE, IDEMPOTENT, NEVER, type RetryClass, Tries, type TriesOptions } from "#internal/retry.js";
import { draws } from "./virtual.js";

function tries(retryClass: RetryClass, options: Partial<TriesOptions> = {}): Tries {
  return new Tries({ retryClass, deadline: Number.POSITIVE_INFINITY, maxRetryCount: 3, random: draws(1), ...options });
}

const OVERLOADED = { reason: "SIDECAR_OVERLOADED", code: "RESOURCE_EXHAUSTED" };

test("which errors each class of RPCs repeats", () => {
  const kinds = Object.values(errors).filter(
    (kind): kind is typeof errors.TurnoutError =>
      typeof kind === "function" && kind.prototype instanceof errors.TurnoutError,
  );
  const repeated = (retryClass: RetryClass): string[] =>
    kinds
      .filter((kind) => tries(retryClass).waitAfter(new kind("x"), 0) !== undefined)
      .map(({ name }) => name)
      .sort();

  assert.deepEqual(repeated(IDEMPOTENT), ["DrainingError", "SidecarOverloadedError", "UnreachableError"]);
  assert.deepEqual(repeated(EXECUTE), [
    "AllAttemptsRefusedError",
    "AllTargetsUnavailableError",
    "DrainingError",
    "SidecarOverloadedError",
  ]);
  assert.deepEqual(repeated(NEVER), []);
});

test("without a word of the sidecar the wait is drawn below 0.1 s times two to the n, at most 2 s", () => {
  const made = tries(IDEMPOTENT, { maxRetryCount: 7 });
  const waits = Array.from({ length: 7 }, () => made.waitAfter(new errors.UnreachableError("x"), 0));

  assert.deepEqual(waits, [0.1, 0.2, 0.4, 0.8, 1.6, 2, 2]);
  assert.equal(made.waitAfter(new errors.UnreachableError("x"), 0), undefined);
});

test("what the sidecar asks for is the least, and up to a fifth is added", () => {
  const asked = new errors.SidecarOverloadedError("x", { ...OVERLOADED, retryAfterSeconds: 5 });

  assert.equal(tries(EXECUTE, { random: draws(0) }).waitAfter(asked, 0), 5);
  assert.equal(tries(EXECUTE, { random: draws(1) }).waitAfter(asked, 0), 6);
});

test("there are at most three retries", () => {
  const made = tries(IDEMPOTENT);
  const waits = Array.from({ length: 5 }, () => made.waitAfter(new errors.UnreachableError("x"), 0) !== undefined);

  assert.deepEqual(waits, [true, true, true, false, false]);
});

test("a forbidden retry is not made, whatever the reason", () => {
  const cut = new errors.SidecarOverloadedError("x", { ...OVERLOADED, retryForbidden: true });

  assert.equal(tries(IDEMPOTENT).waitAfter(cut, 0), undefined);
});

test("a wait that would use up the deadline is not begun", () => {
  const asked = new errors.SidecarOverloadedError("x", { ...OVERLOADED, retryAfterSeconds: 5 });

  assert.equal(tries(EXECUTE, { random: draws(0), deadline: 15 }).waitAfter(asked, 10), undefined);
  assert.equal(tries(EXECUTE, { random: draws(0), deadline: 15.1 }).waitAfter(asked, 10), 5);
});

test("a call is made once more with another token, which is not counted", () => {
  const made = tries(EXECUTE, { renewed: () => true, maxRetryCount: 0 });
  const refused = new errors.UnauthenticatedError("x", { reason: "UNAUTHENTICATED", code: "UNAUTHENTICATED" });

  assert.equal(made.waitAfter(refused, 0), 0);
  assert.equal(made.waitAfter(refused, 0), undefined);
  assert.equal(tries(EXECUTE, { renewed: () => false }).waitAfter(refused, 0), undefined);
});

test("what is left for the next try is never nothing", () => {
  assert.equal(tries(NEVER, { deadline: 10 }).remainingSeconds(4), 6);
  assert.equal(tries(NEVER, { deadline: 10 }).remainingSeconds(11), 0.001);
});
