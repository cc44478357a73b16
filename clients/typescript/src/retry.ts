/**
 * Decides whether and when a failed call is made again. Pure: clock and chance are arguments.
 *
 * The contract allows a retry that nobody asked for only where nothing can have been sent, or where the call changes
 * nothing.
 */

import type { Random } from "./clock.js";
import {
  AllAttemptsRefusedError,
  AllTargetsUnavailableError,
  DrainingError,
  SidecarOverloadedError,
  type TurnoutError,
  UnauthenticatedError,
  UnreachableError,
} from "./errors.js";

const BASE_SECONDS = 0.1;
const MAX_SECONDS = 2;
const JITTER = 0.2;

/** Which errors of an RPC may be followed by another try. */
export type RetryClass = readonly (typeof TurnoutError)[];

/** Route, ProviderStatus, ReportOutcome: once too often is harmless. "No target now" is an answer, not a failure. */
export const IDEMPOTENT: RetryClass = [UnreachableError, SidecarOverloadedError, DrainingError];

/** Execute, ExecuteStream: only what was surely not billed; a lost connection does not say that nothing was sent. */
export const EXECUTE: RetryClass = [
  AllTargetsUnavailableError,
  AllAttemptsRefusedError,
  SidecarOverloadedError,
  DrainingError,
];

/** Watching streams: the caller decides where to resume. */
export const NEVER: RetryClass = [];

/** What the tries of one call have in common. */
export interface TriesOptions {
  readonly retryClass: RetryClass;
  /** On the clock that `now` is read from, in seconds; infinity for none. */
  readonly deadline: number;
  /** The most tries after the first. */
  readonly maxRetryCount: number;
  readonly random: Random;
  /** Whether there is another token than the one that was refused. */
  readonly renewed?: () => boolean;
}

/** The tries of one call, which share one deadline. */
export class Tries {
  readonly #options: TriesOptions;
  #madeCount = 0;
  #renewedOnce = false;

  constructor(options: TriesOptions) {
    this.#options = options;
  }

  /** Returns what is left for the next try in seconds, never below a millisecond; infinity for no deadline. */
  remainingSeconds(now: number): number {
    return Math.max(0.001, this.#options.deadline - now);
  }

  /**
   * Returns how many seconds to wait before the next try, undefined where there must not be one.
   *
   * What the sidecar asked for is the least; up to 20 % is added so that callers who were told the same do not come
   * back together. Without a word of the sidecar: full jitter below 0.1 s · 2ⁿ, at most 2 s. A wait that would use up
   * the deadline is not begun.
   */
  waitAfter(error: TurnoutError, now: number): number | undefined {
    const { retryClass, deadline, maxRetryCount, random, renewed } = this.#options;
    if (error instanceof UnauthenticatedError && !this.#renewedOnce && renewed?.()) {
      // Not counted: the sidecar has not looked at the request.
      this.#renewedOnce = true;
      return 0;
    }
    if (error.retryForbidden || !retryClass.some((kind) => error instanceof kind)) return undefined;
    if (this.#madeCount >= maxRetryCount) return undefined;
    const asked = error.retryAfterSeconds;
    const wait =
      asked === undefined
        ? random() * Math.min(MAX_SECONDS, BASE_SECONDS * 2 ** this.#madeCount)
        : asked * (1 + JITTER * random());
    if (now + wait >= deadline) return undefined;
    this.#madeCount += 1;
    return wait;
  }
}
