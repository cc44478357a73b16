/**
 * Sends outcomes in the background, together, and never as a reason for a call to fail or to wait. While the sidecar is
 * away outcomes wait, and are sent when it is back.
 */

import { onAbort } from "./abort.js";
import { MAX_TIMER_MILLISECONDS, type Random } from "./clock.js";
import { TurnoutError } from "./errors.js";
import { type Outcome, OutcomeStatus, type ReportOutcomeResponse } from "./gen/turnout/v1/router_pb.js";
import { MAX_BATCH_COUNT, Outbox } from "./outbox.js";
import { isAway } from "./planner.js";

/** How long an outcome waits for others to go with it: short, because the next decision should know of a failure. */
export const GATHER_SECONDS = 0.05;

/** The most that is waited between two tries while the sidecar is away. */
const MAX_PAUSE_SECONDS = 2;

/** Sends a batch once, without tries of its own. */
export type Send = (outcomes: readonly Outcome[]) => Promise<ReportOutcomeResponse>;

/** Calls back after so many seconds; returns what takes that back. `holds`: the process must not end before it. */
export type Timer = (seconds: number, holds: boolean, callback: () => void) => () => void;

/** Node's timers. */
export const systemTimer: Timer = (seconds, holds, callback) => {
  const timer = setTimeout(callback, Math.min(seconds * 1000, MAX_TIMER_MILLISECONDS));
  if (!holds) timer.unref();
  return () => {
    clearTimeout(timer);
  };
};

/** What a `Reporter` needs. */
export interface ReporterOptions {
  readonly send: Send;
  readonly random: Random;
  readonly timer: Timer;
  /** Told what somebody should see: outcomes that were given up or rejected. */
  readonly warn: (message: string) => void;
}

/** The reports of one client. */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #outbox = new Outbox();
  /** Called after each try with a batch. */
  readonly #waiters = new Set<() => void>();
  #wake: (() => void) | undefined;
  #running = false;
  #closed = false;
  #failedCount = 0;
  #triedCount = 0;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** How many outcomes were given up. */
  get droppedCount(): number {
    return this.#outbox.droppedCount;
  }

  /** How many outcomes wait or are under way. */
  get pendingCount(): number {
    return this.#outbox.pendingCount;
  }

  /** Whether a failure waits that the next decision should know of. */
  get pressing(): boolean {
    return this.#outbox.pressing;
  }

  /** Queues one outcome; never waits and never throws. */
  add(outcome: Outcome): void {
    this.#outbox.add(outcome);
    if (this.#closed) {
      this.#outbox.giveUp();
      return;
    }
    // While the sidecar is away a full batch is no reason to hurry.
    if (this.#outbox.waitingCount >= MAX_BATCH_COUNT && this.#failedCount === 0) this.#wake?.();
    if (!this.#running) void this.#run();
  }

  /** Sends what the next decision should know of, waiting no longer than told or than the signal lets, for one try. */
  async sendPressing(timeoutSeconds: number, signal?: AbortSignal): Promise<void> {
    const triedCount = this.#triedCount;
    const failedCount = this.#failedCount;
    await this.#until(
      () => !this.pressing || (this.#triedCount > triedCount && this.#failedCount > failedCount),
      timeoutSeconds,
      signal,
    );
  }

  /** Waits until everything queued was sent or given up; returns whether that came in time. */
  async flush(timeoutSeconds: number): Promise<boolean> {
    await this.#until(() => this.pendingCount === 0, timeoutSeconds);
    return this.pendingCount === 0;
  }

  /** Sends what is queued, waiting no longer than told, and gives up the rest. */
  async close(timeoutSeconds: number): Promise<void> {
    await this.flush(timeoutSeconds);
    this.#closed = true;
    this.#outbox.giveUp();
    this.#wake?.();
  }

  async #until(reached: () => boolean, timeoutSeconds: number, signal?: AbortSignal): Promise<void> {
    if (reached()) return;
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        this.#waiters.delete(check);
        forget();
        cancel();
        resolve();
      };
      const check = (): void => {
        if (reached()) settle();
        else this.#wake?.();
      };
      const cancel = this.#options.timer(timeoutSeconds, true, settle);
      const forget = onAbort(signal, settle);
      this.#waiters.add(check);
      this.#wake?.();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#outbox.waitingCount > 0) {
      await this.#gather();
      if (this.#outbox.waitingCount > 0) await this.#sendBatch();
      this.#triedCount += 1;
      for (const waiter of [...this.#waiters]) waiter();
    }
    this.#running = false;
    this.#failedCount = 0;
  }

  /** Waits for others to go along, or, while the sidecar is away, for it to be back. */
  #gather(): Promise<void> {
    const away = this.#failedCount > 0;
    const hurried = this.#outbox.waitingCount >= MAX_BATCH_COUNT || this.#waiters.size > 0;
    if (hurried && !away) return Promise.resolve();
    const pause = Math.min(MAX_PAUSE_SECONDS, GATHER_SECONDS * 2 ** this.#failedCount);
    const seconds = away ? pause * (0.5 + this.#options.random() / 2) : GATHER_SECONDS;
    return new Promise((resolve) => {
      const go = (): void => {
        this.#wake = undefined;
        cancel();
        resolve();
      };
      // Whoever waits for a flush wants it now, but not in a tight loop while nobody is there.
      const cancel = this.#options.timer(seconds, !away, go);
      if (!away || this.#waiters.size === 0) this.#wake = go;
    });
  }

  async #sendBatch(): Promise<void> {
    const batch = this.#outbox.take();
    try {
      const { results } = await this.#options.send(batch);
      this.#outbox.sent();
      this.#failedCount = 0;
      const reason = results.find(({ status }) => status === OutcomeStatus.REJECTED)?.reason;
      if (reason !== undefined) this.#warn(`the sidecar rejected a reported outcome: ${reason}`);
    } catch (error) {
      if (isAway(error) && !this.#closed) {
        this.#outbox.putBack();
        this.#failedCount += 1;
        return;
      }
      this.#outbox.lost();
      this.#failedCount = 0;
      const why = error instanceof TurnoutError ? error.message : String(error);
      this.#warn(`${batch.length} outcomes were not reported to the sidecar: ${why}`);
    }
  }

  #warn(message: string): void {
    try {
      this.#options.warn(message);
    } catch {
      // Whoever is told must not stop the reports.
    }
  }
}
