/** Time that passes when a test says so, and chance that is written down. */

import type { Clock } from "#internal/clock.js";
import type { Timer } from "#internal/reporter.js";

/** A clock with timers. */
export class VirtualTime implements Clock {
  now = 1000;
  readonly #timers = new Map<number, { at: number; callback: () => void }>();
  #nextId = 0;

  readonly monotonic = (): number => this.now;

  readonly wall = (): number => this.now + 1_700_000_000;

  readonly timer: Timer = (seconds, _holds, callback) => {
    const id = this.#nextId++;
    this.#timers.set(id, { at: this.now + seconds, callback });
    return () => {
      this.#timers.delete(id);
    };
  };

  /** How long until the next timer, undefined for none. */
  get nextSeconds(): number | undefined {
    const ats = [...this.#timers.values()].map(({ at }) => at);
    return ats.length === 0 ? undefined : Math.min(...ats) - this.now;
  }

  /** Lets so much time pass; what follows from each timer is done before the next. */
  async pass(seconds: number): Promise<void> {
    const end = this.now + seconds;
    for (;;) {
      const due = [...this.#timers]
        .filter(([, { at }]) => at <= end + 1e-9)
        .sort(([, one], [, other]) => one.at - other.at);
      const next = due[0];
      if (next === undefined) break;
      const [id, { at, callback }] = next;
      this.#timers.delete(id);
      this.now = Math.max(this.now, at);
      callback();
      await settled();
    }
    this.now = end;
    await settled();
  }
}

/** Resolves when everything that waits for nothing but other promises is done. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Returns the given numbers in turn, then begins again. */
export function draws(...numbers: number[]): () => number {
  let place = 0;
  return () => numbers[place++ % numbers.length]!;
}
