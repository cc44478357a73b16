/** A plan: the targets of a Route decision, to be called by the application itself, best first. */

import { create } from "@bufbuild/protobuf";
import { classify, type Failure } from "./classify.js";
import type { Clock } from "./clock.js";
import { durationOf, secondsOf, timestampOf } from "./duration.js";
import { PlanExhaustedError } from "./errors.js";
import {
  type Candidate,
  type Decision,
  FailureKind,
  MidStreamPolicy,
  type Outcome,
  OutcomeSchema,
  UsageSchema,
  UsageSource,
} from "./gen/turnout/v1/router_pb.js";
import type { Choice } from "./planner.js";
import { targetName } from "./target.js";

/**
 * Another target would not help (the request is the fault, or the caller stopped), or it cannot be told: an exception
 * that says nothing of a provider may be a mistake in the function, and must come out.
 */
const STOPPING_KINDS = new Set([
  FailureKind.INVALID_REQUEST,
  FailureKind.CONTENT_FILTERED,
  FailureKind.CANCELLED,
  FailureKind.UNKNOWN,
]);

/** Tokens as a provider reported them; what is left out is unknown. */
export interface TokenUsage {
  /** All input tokens, cached and cache-write ones included: Anthropic's `input_tokens` leaves both out, add them. */
  readonly inputTokens?: number | undefined;
  /** All output tokens, reasoning ones included. */
  readonly outputTokens?: number | undefined;
  readonly cachedInputTokens?: number | undefined;
  readonly cacheWriteTokens?: number | undefined;
  readonly reasoningTokens?: number | undefined;
}

/** A failure that no exception tells of. */
export interface ToldFailure {
  readonly httpStatus?: number;
  readonly retryAfterSeconds?: number;
}

/** Where the targets of a call came from. */
export interface Plan {
  /** The decision; without an id where it is the fixed order of the configuration. */
  readonly decision: Decision;
  /** The targets in the order in which they are offered. */
  readonly candidates: readonly Candidate[];
  /** Whether it is an earlier plan, used again without asking the sidecar. */
  readonly reused: boolean;
  /** Whether the sidecar is away, and this is what is left to go by. */
  readonly stale: boolean;
  /** Why the sidecar was not asked or did not answer, and what this is instead; "" where it did. */
  readonly staleReason: string;
}

/** What a function returned, and where it got it from. */
export interface PlanResult<T> {
  readonly value: T;
  readonly target: PlanTarget;
  readonly plan: Plan;
}

/** The application's own call to one target. What it throws is classified and reported. */
export type PlanFunction<T> = (target: PlanTarget, signal: AbortSignal) => T | Promise<T>;

/** One target to call: measured from its creation, its end reported. */
export class PlanTarget {
  /** The candidate as the sidecar described it. */
  readonly candidate: Candidate;
  /**
   * The report that will be sent; what has no method here (`costUsd`, `rateLimit`, `credential`, a label and never the
   * key) may be set on it while the function runs.
   */
  readonly outcome: Outcome;
  readonly #clock: Clock;
  readonly #startedAt: number;
  #told: Failure | undefined;

  /** Made by `Client.plan`. */
  constructor(candidate: Candidate, { request, decision, staleReason }: Choice, clock: Clock) {
    this.candidate = candidate;
    this.#clock = clock;
    this.outcome = create(OutcomeSchema, {
      decisionId: decision.decisionId,
      attemptId: crypto.randomUUID(),
      probeId: candidate.probe?.probeId ?? "",
      startTime: timestampOf(clock.wall()),
    });
    if (candidate.target !== undefined) this.outcome.target = candidate.target;
    if (staleReason) {
      // The sidecar may not know the decision any more, or never did: it cannot add these from its history.
      this.outcome.task = request.profile?.task ?? "";
      this.outcome.sessionId = request.sessionId;
      if (request.caller !== undefined) this.outcome.caller = request.caller;
    }
    this.#startedAt = clock.monotonic();
  }

  /** The target as it is written: "provider/model" or "provider/model\@endpoint". */
  get name(): string {
    return targetName(this.candidate.target);
  }

  /** The provider's name. */
  get provider(): string {
    return this.candidate.target?.provider ?? "";
  }

  /** The model's name at the provider. */
  get model(): string {
    return this.candidate.target?.model ?? "";
  }

  /** The endpoint's name, "" where the provider has only one. */
  get endpoint(): string {
    return this.candidate.target?.endpoint ?? "";
  }

  /** Where the provider is called, "" where that is not known, as in the fixed order of the configuration. */
  get baseUrl(): string {
    return this.candidate.baseUrl;
  }

  /** The provider's wire format, such as "openai" or "anthropic", "" where that is not known. */
  get wire(): string {
    return this.candidate.wire;
  }

  /** How long to wait for the first content before turning to the next target; undefined where that is not known. */
  get timeoutSeconds(): number | undefined {
    const timeout = this.candidate.attemptTimeout;
    return timeout && secondsOf(timeout);
  }

  /** The id under which the outcome, and feedback later, is reported. */
  get attemptId(): string {
    return this.outcome.attemptId;
  }

  /** Notes that the first token of a stream is there; later calls change nothing. */
  firstToken(): void {
    if (this.outcome.streamed) return;
    this.outcome.streamed = true;
    this.outcome.timeToFirstToken = durationOf(this.#clock.monotonic() - this.#startedAt);
  }

  /** Notes the tokens that the provider reported. */
  usage(tokens: TokenUsage): void {
    const usage = create(UsageSchema, { source: UsageSource.REPORTED });
    for (const name of [
      "inputTokens",
      "outputTokens",
      "cachedInputTokens",
      "cacheWriteTokens",
      "reasoningTokens",
    ] as const) {
      const count: unknown = tokens[name];
      // Providers write null for what they do not count, and a sum with such a field is not a number.
      if (typeof count !== "number" || Number.isNaN(count)) continue;
      usage[name] = BigInt(Math.round(Math.min(Math.max(0, count), Number.MAX_SAFE_INTEGER)));
    }
    this.outcome.usage = usage;
  }

  /** Notes a failure that no exception tells of, such as a stream that ended without its end; goes before one. */
  failed(kind: FailureKind, details: ToldFailure = {}): void {
    this.#told = { kind, ...details };
  }

  /** What was told with `failed`. */
  get told(): Failure | undefined {
    return this.#told;
  }

  /** Ends the attempt and returns its failure, undefined for a success. @internal */
  end(failed: boolean, error: unknown, aborted: boolean): Failure | undefined {
    let failure = this.#told;
    if (failure === undefined && failed) {
      failure = aborted ? { kind: FailureKind.CANCELLED } : this.#inMidStream(this.#classified(error));
    }
    this.outcome.latency = durationOf(this.#clock.monotonic() - this.#startedAt);
    this.outcome.ok = failure === undefined;
    if (failure !== undefined) {
      this.outcome.failure = failure.kind;
      if (failure.httpStatus !== undefined) this.outcome.httpStatus = failure.httpStatus;
      if (failure.retryAfterSeconds !== undefined) this.outcome.retryAfter = durationOf(failure.retryAfterSeconds);
    }
    return failure;
  }

  #classified(error: unknown): Failure {
    try {
      return classify(error, this.#clock.wall());
    } catch {
      // An exception whose properties throw when they are looked at: it must come out, and not theirs.
      return { kind: FailureKind.UNKNOWN };
    }
  }

  /** Once tokens came, silence is a stall and a lost connection a cut answer. */
  #inMidStream(failure: Failure): Failure {
    if (!this.outcome.streamed) return failure;
    if (failure.kind === FailureKind.TIMEOUT && failure.httpStatus === undefined) return { kind: FailureKind.STALLED };
    return failure.kind === FailureKind.CONNECTION ? { kind: FailureKind.TRUNCATED } : failure;
  }
}

/** What following a plan needs. */
export interface FollowOptions {
  readonly clock: Clock;
  readonly report: (outcome: Outcome) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Calls the function with each target in turn until one succeeds.
 *
 * @throws {@link PlanExhaustedError} with the last exception as `cause` where all targets failed; what another target
 * would not help, and everything after the first token unless the request asks for restarts, comes out as it was
 * thrown.
 */
export async function follow<T>(
  choice: Choice,
  call: PlanFunction<T>,
  { clock, report, signal }: FollowOptions,
): Promise<PlanResult<T>> {
  const { options } = choice.request;
  const restart = options?.midStream === MidStreamPolicy.RESTART;
  const plan: Plan = {
    decision: choice.decision,
    // The first alone where the request wants no other.
    candidates: options?.allowFallback === false ? choice.candidates.slice(0, 1) : choice.candidates,
    reused: choice.reused,
    stale: choice.staleReason !== "",
    staleReason: choice.staleReason,
  };
  const given = signal ?? new AbortController().signal;
  let cause: unknown;
  for (const candidate of plan.candidates) {
    signal?.throwIfAborted();
    const target = new PlanTarget(candidate, choice, clock);
    let value: T;
    try {
      value = await call(target, given);
    } catch (error) {
      const failure = target.end(true, error, given.aborted);
      report(target.outcome);
      if (!mayGoOn(failure, target, restart)) throw error;
      cause = error;
      continue;
    }
    const failure = target.end(false, undefined, false);
    report(target.outcome);
    if (failure === undefined) return { value, target, plan };
    cause = undefined;
    if (!mayGoOn(failure, target, restart)) break;
  }
  const names = plan.candidates.map(({ target }) => targetName(target)).join(", ");
  throw new PlanExhaustedError(`no target of the plan was used with success: ${names || "it has none"}`, {
    decisionId: plan.decision.decisionId,
    cause,
  });
}

function mayGoOn(failure: Failure | undefined, { outcome }: PlanTarget, restart: boolean): boolean {
  if (failure === undefined) return false;
  // An unknown kind with a status came from a provider, one without may be a mistake in the function.
  const isProviders = failure.kind === FailureKind.UNKNOWN && failure.httpStatus !== undefined;
  if (STOPPING_KINDS.has(failure.kind) && !isProviders) return false;
  // What was handed on of a stream cannot be taken back, unless the caller asked for restarts.
  return restart || !outcome.streamed;
}
