/** Plans that may be used again without asking the sidecar. Pure: clock and chance are arguments. */

import { createHash } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { setNewest } from "./bounded.js";
import type { Random } from "./clock.js";
import { secondsOf } from "./duration.js";
import { type Candidate, type Decision, type RouteRequest, RouteRequestSchema } from "./gen/turnout/v1/router_pb.js";
import { sendable } from "./sendable.js";
import { targetName } from "./target.js";

/** The most plans that are kept. */
export const MAX_PLAN_COUNT = 256;

/** Tokens as a request states them, undefined where it does not. */
export interface Tokens {
  readonly input: bigint | undefined;
  readonly output: bigint | undefined;
}

/** A decision with its candidates in the order in which they are to be called. */
export interface Ordered {
  readonly decision: Decision;
  readonly candidates: readonly Candidate[];
}

interface Kept extends Ordered {
  readonly tokens: Tokens;
  readonly targets: ReadonlySet<string>;
  /** The sum of the candidates' shares. */
  readonly shares: number;
  readonly endsAt: number;
}

/**
 * Returns what requests have in common that one plan can serve: everything but request id and tokens, whatever the
 * order of the labels. It is a digest: a text hint may have a megabyte.
 */
export function planKey(request: RouteRequest): string {
  const { profile, caller } = request;
  const common: RouteRequest = { ...request, requestId: "" };
  if (profile !== undefined) {
    const { inputTokens: _input, maxOutputTokens: _output, ...others } = profile;
    common.profile = others;
  }
  if (caller !== undefined) {
    const names = Object.keys(caller.labels);
    if (names.length > 1) {
      common.caller = {
        ...caller,
        labels: Object.fromEntries(names.sort().map((name) => [name, caller.labels[name]!])),
      };
    }
  }
  return createHash("sha256").update(sendable(() => toBinary(RouteRequestSchema, common))).digest("base64");
}

/** Returns the tokens that a request states. */
export function tokensOf({ profile }: RouteRequest): Tokens {
  return { input: profile?.inputTokens, output: profile?.maxOutputTokens };
}

/** At most so many plans, one for each key; the one least recently used goes. */
export class PlanCache {
  readonly #plans = new Map<string, Kept>();
  readonly #random: Random;
  readonly #maxCount: number;

  constructor(random: Random, maxCount = MAX_PLAN_COUNT) {
    this.#random = random;
    this.#maxCount = maxCount;
  }

  /** How many plans are kept. */
  get size(): number {
    return this.#plans.size;
  }

  /** Keeps the answer to a request that was sent at a time; what may not be used again takes no place. */
  keep(key: string, tokens: Tokens, decision: Decision, sentAt: number): void {
    this.#plans.delete(key);
    const { candidates } = decision;
    if (!mayServeAgain(decision)) return;
    const kept: Kept = {
      decision,
      // A probe is one call's trial: with it a plan would not be reusable, and none is handed out twice in any case.
      candidates: candidates.map(withoutProbe),
      tokens,
      targets: new Set(candidates.map(({ target }) => targetName(target))),
      shares: candidates.reduce((sum, { share }) => sum + Math.max(0, share), 0),
      endsAt: sentAt + validSeconds(decision),
    };
    setNewest(this.#plans, key, kept, this.#maxCount);
  }

  /** Returns the plan that serves a request now, its first target drawn by the shares; undefined where one must ask. */
  find(key: string, tokens: Tokens, now: number): Ordered | undefined {
    const kept = this.#plans.get(key);
    if (kept === undefined) return undefined;
    if (now >= kept.endsAt) {
      this.#plans.delete(key);
      return undefined;
    }
    if (!noMoreTokens(tokens, kept.tokens)) return undefined;
    setNewest(this.#plans, key, kept, this.#maxCount);
    return { decision: kept.decision, candidates: this.#drawn(kept) };
  }

  /** Drops every plan in which a target is a candidate. */
  drop(target: string): void {
    for (const [key, { targets }] of this.#plans) {
      if (targets.has(target)) this.#plans.delete(key);
    }
  }

  /** Draws the first by its share of those listed; the others follow in order, which stands without shares. */
  #drawn({ candidates, shares }: Kept): readonly Candidate[] {
    if (shares <= 0 || candidates.length === 1) return candidates;
    let left = this.#random() * shares;
    let first = candidates.findIndex(({ share }) => {
      left -= Math.max(0, share);
      return left < 0;
    });
    // Rounding may leave a trace of the sum: then it is the last one that has a share.
    if (first < 0) first = candidates.findLastIndex(({ share }) => share > 0);
    if (first === 0) return candidates;
    return [candidates[first]!, ...candidates.slice(0, first), ...candidates.slice(first + 1)];
  }
}

/** Returns a candidate without the lease of a trial. */
export function withoutProbe(candidate: Candidate): Candidate {
  if (candidate.probe === undefined) return candidate;
  const { probe: _probe, ...others } = candidate;
  return others;
}

/** Whether the sidecar lets a decision serve further requests. */
export function mayServeAgain(decision: Decision): boolean {
  return decision.reusable && validSeconds(decision) > 0 && decision.candidates.length > 0;
}

/** Whether a plan that was asked for with certain tokens serves a request of others. */
export function noMoreTokens(asked: Tokens, kept: Tokens): boolean {
  return noMore(asked.input, kept.input) && noMore(asked.output, kept.output);
}

function validSeconds({ validFor }: Decision): number {
  return validFor === undefined ? 0 : secondsOf(validFor);
}

/** Whether a count is surely no more than another; of an unknown one that is sure only of another unknown one. */
function noMore(asked: bigint | undefined, kept: bigint | undefined): boolean {
  return asked === undefined || kept === undefined ? asked === kept : asked <= kept;
}
