/** The last plan of each kind of request, however old: what is left to go by while the sidecar is away. */

import { setNewest } from "./bounded.js";
import type { Decision, RouteRequest } from "./gen/turnout/v1/router_pb.js";
import { MAX_PLAN_COUNT, mayServeAgain, type Ordered, withoutProbe } from "./planCache.js";
import { isAllowed } from "./target.js";

/** A plan and when it was made, in seconds on the monotonic clock. */
export interface LastPlan extends Ordered {
  readonly madeAt: number;
  readonly task: string;
  readonly tenant: string;
  /** Whether it was made for an equal request. */
  readonly same: boolean;
}

/** At most so many plans, one for each key; the one longest without an answer goes. */
export class LastPlans {
  readonly #plans = new Map<string, LastPlan>();
  readonly #maxCount: number;

  constructor(maxCount = MAX_PLAN_COUNT) {
    this.#maxCount = maxCount;
  }

  /** How many plans are kept. */
  get size(): number {
    return this.#plans.size;
  }

  /** Keeps an answer. The ids of trials are left out: a trial is leased once, and for seconds. */
  keep(key: string, request: RouteRequest, decision: Decision, now: number): void {
    if (decision.candidates.length === 0) return;
    const plan: LastPlan = {
      decision,
      candidates: decision.candidates.map(withoutProbe),
      madeAt: now,
      task: request.profile?.task ?? "",
      tenant: request.caller?.tenant ?? "",
      same: true,
    };
    setNewest(this.#plans, key, plan, this.#maxCount);
  }

  /** Whether the last answer to such a request was for its asker alone. */
  servedOnce(key: string): boolean {
    const last = this.#plans.get(key);
    return last !== undefined && !mayServeAgain(last.decision);
  }

  /**
   * Returns the last plan for an equal request, else the newest for the same task and tenant.
   *
   * Another request's plan was not made under this one's limits: what names and regions rule out is left out of it.
   */
  find(key: string, request: RouteRequest): LastPlan | undefined {
    const same = this.#plans.get(key);
    if (same !== undefined) return same;
    const task = request.profile?.task ?? "";
    const tenant = request.caller?.tenant ?? "";
    for (const other of [...this.#plans.values()].reverse()) {
      if (other.task !== task || other.tenant !== tenant) continue;
      const candidates = other.candidates.filter((candidate) => isAllowed(candidate, request.options));
      if (candidates.length > 0) return { ...other, candidates, same: false };
    }
    return undefined;
  }
}
