/**
 * Questions to the sidecar that are under way: of equal ones at one time one caller asks, and the others wait for it.
 *
 * Nothing here waits or reads a clock: whoever is to wait looks again when the other question has ended, however it did.
 * Why the rules are these is decision 58, "Joined questions". All times are seconds on the monotonic clock.
 */

import type { RouteRequest } from "./gen/turnout/v1/router_pb.js";
import { noMoreTokens, type Tokens } from "./planCache.js";

/** For how many questions of others a caller waits: after that he asks, whoever else does. */
export const MAX_WAIT_COUNT = 2;

/** A question to the sidecar, and how far it has come. */
export interface Asking {
  readonly request: RouteRequest;
  readonly key: string;
  readonly tokens: Tokens;
  /** When its caller's time is over. */
  endsAt: number;
  failureCount: number;
  /** Whether there is something else to go by without an answer. */
  fallsBack: boolean;
  /** Whether all others go on with stale plans meanwhile. */
  alone: boolean;
  /** Whether it ended in an error, which is its caller's alone. */
  refused: boolean;
  /** An equal question that somebody else asks: to be waited for, until `waitUntil` at most. */
  waitsFor: Asking | undefined;
  waitUntil: number;
  waitedCount: number;
  /** Called when it has ended. */
  readonly waiters: Set<() => void>;
}

/** Those under way, by key: at most as many as there are callers who ask. */
export class Questions {
  readonly #asked = new Map<string, Asking>();

  /** How many are under way. */
  get size(): number {
    return this.#asked.size;
  }

  /**
   * Finds a question to wait for; where there is none, this one is what later callers wait for.
   *
   * A caller waits for half of the time that he has left, and for no question that may end before that: neither the
   * silence nor the deadline of another takes his own chance from him.
   */
  join(asking: Asking, now: number): void {
    const other = this.#asked.get(asking.key);
    if (asking.waitsFor?.refused) asking.waitedCount = MAX_WAIT_COUNT;
    const until = now + (asking.endsAt - now) / 2;
    if (
      other === undefined ||
      other === asking.waitsFor ||
      other.endsAt < until ||
      asking.waitedCount === MAX_WAIT_COUNT ||
      !noMoreTokens(asking.tokens, other.tokens)
    ) {
      this.ask(asking);
      return;
    }
    asking.waitsFor = other;
    asking.waitUntil = until;
    asking.waitedCount += 1;
  }

  /** Takes a question that waits for no other; it is the one that later callers wait for. */
  ask(asking: Asking): void {
    asking.waitsFor = undefined;
    this.#asked.set(asking.key, asking);
  }

  /** Forgets a question, and lets go those who wait for it. */
  end(asking: Asking): void {
    if (this.#asked.get(asking.key) === asking) this.#asked.delete(asking.key);
    for (const go of [...asking.waiters]) go();
  }
}
