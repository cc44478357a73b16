/**
 * Decides where a plan comes from: one that is kept, the sidecar, or what is left while the sidecar is away.
 *
 * Nothing here waits, speaks to the network or reads a clock: whoever gets an `Asking` asks the sidecar, or waits for the
 * question it names and starts `again`; tells how that went, and ends it. All times are seconds on the monotonic clock.
 */

import { create } from "@bufbuild/protobuf";
import type { Random } from "./clock.js";
import {
  DeadlineError,
  DrainCutError,
  DrainingError,
  SidecarOverloadedError,
  type TurnoutError,
  UnreachableError,
} from "./errors.js";
import type { StaticOrder } from "./fallback.js";
import {
  type Candidate,
  type Decision,
  DecisionSchema,
  type Outcome,
  type RouteRequest,
} from "./gen/turnout/v1/router_pb.js";
import { LastPlans } from "./lastPlans.js";
import { PlanCache, planKey, tokensOf } from "./planCache.js";
import { type Asking, Questions } from "./questions.js";
import { SeenFailures, speaksAgainst } from "./seenFailures.js";
import { targetName } from "./target.js";

/** How long a Route may take that has something to fall back on. */
const FALLING_BACK_SECONDS = 1;

/** How long nobody asks after the sidecar was found to be away. */
const PAUSE_SECONDS = 1;

/** Tells whether an error means that the sidecar cannot answer now; every other refusal is an answer. */
export function isAway(error: unknown): error is TurnoutError {
  return [UnreachableError, DeadlineError, DrainingError, DrainCutError, SidecarOverloadedError].some(
    (kind) => error instanceof kind,
  );
}

/** What to call, in this order. */
export interface Choice {
  readonly request: RouteRequest;
  readonly decision: Decision;
  readonly candidates: readonly Candidate[];
  /** Whether it is an earlier plan, used again without asking the sidecar. */
  readonly reused: boolean;
  /** Why the sidecar was not asked or did not answer, and what this is instead; "" where it did. */
  readonly staleReason: string;
}

/** How the question was put. */
export interface Asked {
  readonly sentAt: number;
  /** Whether the sidecar may not know of a failure yet: then its answer serves once only. */
  readonly uninformed: boolean;
}

/** What a `Planner` needs. */
export interface PlannerOptions {
  /** False: each plan is asked for, and none is kept for when the sidecar is away. */
  readonly caching: boolean;
  readonly fallback: StaticOrder;
  readonly random: Random;
  readonly maxCount?: number;
}

/** The plans of one client. */
export class Planner {
  readonly #caching: boolean;
  readonly #fallback: StaticOrder;
  readonly #cache: PlanCache;
  readonly #last: LastPlans;
  readonly #failures = new SeenFailures();
  readonly #questions = new Questions();
  #away: TurnoutError | undefined;
  #askAgainAt = 0;
  #askedAlone = false;

  constructor({ caching, fallback, random, maxCount }: PlannerOptions) {
    this.#caching = caching;
    this.#fallback = fallback;
    this.#cache = new PlanCache(random, maxCount);
    this.#last = new LastPlans(maxCount);
  }

  /** Returns a plan that needs no question, or the question; `seconds` is the time that the caller has. */
  start(request: RouteRequest, now: number, seconds = Infinity): Choice | Asking {
    const key = this.#caching ? planKey(request) : "";
    const tokens = tokensOf(request);
    const kept = this.#cache.find(key, tokens, now);
    if (kept !== undefined) return { request, ...kept, reused: true, staleReason: "" };
    return this.#asking(
      {
        request,
        key,
        tokens,
        endsAt: now + seconds,
        failureCount: 0,
        fallsBack: false,
        alone: false,
        refused: false,
        waitsFor: undefined,
        waitUntil: 0,
        waitedCount: 0,
        waiters: new Set(),
      },
      now,
    );
  }

  /** Returns what there is after a wait for another question: a plan, or the question, to be asked or to wait. */
  again(asking: Asking, now: number): Choice | Asking {
    const { request } = asking;
    const kept = this.#cache.find(asking.key, asking.tokens, now);
    return kept === undefined ? this.#asking(asking, now) : { request, ...kept, reused: true, staleReason: "" };
  }

  /** How many questions are under way that callers may wait for. */
  get questionCount(): number {
    return this.#questions.size;
  }

  /** Takes the sidecar's answer, and keeps it as far as it may be used again. */
  answered(asking: Asking, asked: Asked, decision: Decision, now: number): Choice {
    this.#away = undefined;
    if (this.#caching) {
      this.#last.keep(asking.key, asking.request, decision, now);
      if (!asked.uninformed && !this.#failedSince(asking, decision)) {
        this.#cache.keep(asking.key, asking.tokens, decision, asked.sentAt);
      }
    }
    return { request: asking.request, decision, candidates: decision.candidates, reused: false, staleReason: "" };
  }

  /** Takes an error; returns what to go by instead of an answer, undefined where the error is to come out. */
  failed(asking: Asking, error: TurnoutError, now: number): Choice | undefined {
    asking.refused = true;
    if (!isAway(error)) {
      this.#away = undefined;
      return undefined;
    }
    const kept = this.#cache.find(asking.key, asking.tokens, now);
    // Another had an answer meanwhile: this one came too late, and the sidecar is not away.
    if (kept !== undefined) return { request: asking.request, ...kept, reused: true, staleReason: "" };
    this.#away = error;
    this.#askAgainAt = now + PAUSE_SECONDS;
    return this.#stale(asking.key, asking.request, now);
  }

  /** Ends a question, however it went, so that nobody waits for it: to be called once for each. */
  end(asking: Asking): void {
    if (asking.alone) this.#askedAlone = false;
    this.#questions.end(asking);
  }

  /** Takes how calls ended: a target that failed is used by no kept plan before the sidecar was asked anew. */
  noted(outcomes: Iterable<Outcome>, now: number): void {
    for (const outcome of outcomes) {
      if (!speaksAgainst(outcome)) continue;
      const name = targetName(outcome.target);
      this.#failures.add(name, now);
      this.#cache.drop(name);
    }
  }

  #asking(asking: Asking, now: number): Choice | Asking {
    const stale = this.#stale(asking.key, asking.request, now);
    if (stale !== undefined) {
      if (this.#away !== undefined) {
        if (this.#askedAlone || now < this.#askAgainAt) return stale;
        this.#askedAlone = true;
        asking.alone = true;
      }
      asking.endsAt = Math.min(asking.endsAt, now + FALLING_BACK_SECONDS);
    }
    asking.fallsBack = stale !== undefined;
    asking.failureCount = this.#failures.count;
    // To wait for an answer that will serve its asker alone would only cost time.
    if (this.#caching && !asking.alone && !this.#last.servedOnce(asking.key)) this.#questions.join(asking, now);
    else this.#questions.ask(asking);
    return asking;
  }

  /** A failure that came after the question was put: the answer may not know of it. */
  #failedSince({ failureCount }: Asking, { candidates }: Decision): boolean {
    if (failureCount === this.#failures.count) return false;
    return candidates.some(({ target }) => this.#failures.since(failureCount, targetName(target)));
  }

  #stale(key: string, request: RouteRequest, now: number): Choice | undefined {
    const why = this.#away?.message ?? "the sidecar is away";
    const last = this.#last.find(key, request);
    if (last !== undefined) {
      const whose = last.same ? "this request" : `another request of task ${JSON.stringify(last.task)}`;
      return {
        request,
        decision: last.decision,
        candidates: this.#failedLast(last.candidates, now),
        reused: false,
        staleReason: `${why}; this is the last plan for ${whose}, ${(now - last.madeAt).toFixed(1)} s old`,
      };
    }
    const candidates = this.#fallback.candidates(request);
    if (candidates.length === 0) return undefined;
    return {
      request,
      decision: create(DecisionSchema, {
        candidates: [...candidates],
        task: request.profile?.task ?? "",
        reason: "the client's fallback",
      }),
      candidates: this.#failedLast(candidates, now),
      reused: false,
      staleReason: `${why}; this is the client's fallback`,
    };
  }

  /** Those that failed within the last 30 s go last; the order is otherwise kept. */
  #failedLast(candidates: readonly Candidate[], now: number): readonly Candidate[] {
    const failed = ({ target }: Candidate): boolean => this.#failures.lately(targetName(target), now);
    return [...candidates.filter((each) => !failed(each)), ...candidates.filter(failed)];
  }
}
