/** What this process has seen fail: which failures speak against a target, and how long ago the last one was. */

import { setNewest } from "./bounded.js";
import { FailureKind, type Outcome } from "./gen/turnout/v1/router_pb.js";

/** For how long a failed target goes last in a stale plan, in seconds. */
const REMEMBERED_SECONDS = 30;

const MAX_TARGET_COUNT = 1024;

/** The caller stopped, or the request is the fault: the target may serve the next one. */
const NOT_THE_TARGETS = new Set([
  FailureKind.UNSPECIFIED,
  FailureKind.CANCELLED,
  FailureKind.INVALID_REQUEST,
  FailureKind.CONTENT_FILTERED,
  FailureKind.CONTEXT_LENGTH,
]);

/**
 * Tells whether an outcome is a reason to ask the sidecar anew before its target is used again. An unknown failure
 * counts only with an HTTP status: without one it may be a mistake in the caller's own code.
 */
export function speaksAgainst(outcome: Outcome): boolean {
  if (outcome.ok || NOT_THE_TARGETS.has(outcome.failure)) return false;
  return outcome.failure !== FailureKind.UNKNOWN || outcome.httpStatus !== undefined;
}

/** The last failure of each target, by name. */
export class SeenFailures {
  readonly #seen = new Map<string, { count: number; at: number }>();
  #count = 0;

  /** How many failures there were so far: what is asked at one count and answered at another met failures. */
  get count(): number {
    return this.#count;
  }

  /** Takes a failure; `now` is in seconds. */
  add(target: string, now: number): void {
    this.#count += 1;
    setNewest(this.#seen, target, { count: this.#count, at: now }, MAX_TARGET_COUNT);
  }

  /** Tells whether a target has failed since there were so many failures. */
  since(count: number, target: string): boolean {
    return (this.#seen.get(target)?.count ?? 0) > count;
  }

  /** Tells whether a target has failed within the last 30 s. */
  lately(target: string, now: number): boolean {
    const seen = this.#seen.get(target);
    return seen !== undefined && now - seen.at < REMEMBERED_SECONDS;
  }
}
