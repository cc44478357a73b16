/** Outcomes on their way to the sidecar. Pure: what waits, what goes together, what is given up. */

import type { Outcome } from "./gen/turnout/v1/router_pb.js";
import { speaksAgainst } from "./seenFailures.js";

/** The most outcomes that wait or are under way. */
export const MAX_PENDING_COUNT = 1000;

/** The most outcomes that go together. */
export const MAX_BATCH_COUNT = 100;

/** What waits to be sent. Past its bound the oldest is dropped: the newest tell more about health. */
export class Outbox {
  #waiting: Outcome[] = [];
  #underWay: Outcome[] = [];
  #pressingCount = 0;
  /** How many outcomes were given up. */
  droppedCount = 0;

  /** How many outcomes wait. */
  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** How many outcomes wait or are under way. */
  get pendingCount(): number {
    return this.#waiting.length + this.#underWay.length;
  }

  /** Whether a failure waits or is under way that the next decision should know of. */
  get pressing(): boolean {
    return this.#pressingCount > 0;
  }

  /** Adds one outcome. */
  add(outcome: Outcome): void {
    this.#waiting.push(outcome);
    if (speaksAgainst(outcome)) this.#pressingCount += 1;
    this.#trim();
  }

  /** Takes the oldest outcomes to be sent together; told of by `sent`, `lost` or `putBack` afterwards. */
  take(): readonly Outcome[] {
    this.#underWay = this.#waiting.splice(0, MAX_BATCH_COUNT);
    return this.#underWay;
  }

  /** Those under way have arrived. */
  sent(): void {
    this.#settle(this.#underWay);
    this.#underWay = [];
  }

  /** Those under way cannot be sent at all. */
  lost(): void {
    this.droppedCount += this.#underWay.length;
    this.sent();
  }

  /** Those under way are to be sent again. */
  putBack(): void {
    this.#waiting = [...this.#underWay, ...this.#waiting];
    this.#underWay = [];
    this.#trim();
  }

  /** Gives up everything. */
  giveUp(): void {
    this.droppedCount += this.#waiting.length;
    this.#settle(this.#waiting.splice(0));
    this.lost();
  }

  #trim(): void {
    const excess = this.pendingCount - MAX_PENDING_COUNT;
    if (excess <= 0) return;
    const dropped = this.#waiting.splice(0, excess);
    this.droppedCount += dropped.length;
    this.#settle(dropped);
  }

  #settle(outcomes: readonly Outcome[]): void {
    for (const outcome of outcomes) {
      if (speaksAgainst(outcome)) this.#pressingCount -= 1;
    }
  }
}
