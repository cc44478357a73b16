/**
 * Everything that can go wrong with a call, as one tree:
 *
 *     TurnoutError
 *      ├ UsageError (found before any call)
 *      ├ InvalidRequestError · RequestIdReusedError · NotFoundError · UnauthenticatedError · PermissionDeniedError
 *      ├ NoEligibleTargetError · BudgetExhaustedError · SessionLimitError
 *      ├ NothingSentError (safe to send again): AllTargetsUnavailableError · SidecarOverloadedError · DrainingError
 *      ├ CallError (attempts were made): ContentFilteredError · ProviderRejectedRequestError ·
 *      │  AllAttemptsRefusedError · AttemptsExhaustedError · StreamInterruptedError · DeadlineError · DrainCutError
 *      ├ ConflictError · ResumeTooOldError · UnsupportedError · SidecarFaultError
 *      ├ TransportError (no answer of the sidecar's): UnreachableError
 *      ├ ContractError (an answer that the contract does not allow)
 *      └ PlanExhaustedError · RestartedError (thrown by this package alone)
 *
 * Cancellation is none of them: what is aborted rejects with the signal's own reason, as everywhere in the language.
 */

import type { Attempt, CallFailure, Part, Rejection, Usage } from "./gen/turnout/v1/router_pb.js";

/** What is wrong with one field, by its path in the request, and what would be right. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** What had come of a stream that failed: of the attempt that counts, and not the whole answer. */
export interface PartialAnswer {
  readonly text: string;
  readonly parts: readonly Part[];
}

/** What an error answer said beside its message; nothing here holds a prompt, a completion or a credential. */
export interface ErrorDetails {
  /** The gRPC status code in UPPER_SNAKE; absent where no call was made. */
  readonly code?: string | undefined;
  /** The reason as the contract lists it; absent where the sidecar did not speak. */
  readonly reason?: string | undefined;
  readonly decisionId?: string | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** How long to wait before the same call may work; absent where nothing was said. */
  readonly retryAfterSeconds?: number | undefined;
  /** Whether a retry must not happen by itself. */
  readonly retryForbidden?: boolean | undefined;
  readonly fieldViolations?: readonly FieldViolation[] | undefined;
  readonly callFailure?: CallFailure | undefined;
  readonly partial?: PartialAnswer | undefined;
  readonly cause?: unknown;
}

/** Base of all errors of this package. */
export class TurnoutError extends Error {
  /** The gRPC status code in UPPER_SNAKE, "" where no call was made. */
  readonly code: string;
  /** The reason in UPPER_SNAKE as the contract lists it, "" where the sidecar gave none. */
  readonly reason: string;
  /** The decision it belongs to, "" for none: `turnout explain` and the sidecar's log know it. */
  readonly decisionId: string;
  /** What the reason is about, by name: policy, target, provider and the like. */
  readonly metadata: Readonly<Record<string, string>>;
  /** How long to wait before trying again, in seconds; undefined where waiting was not said to help. */
  readonly retryAfterSeconds: number | undefined;
  /** Whether the sidecar forbids a retry that nobody asked for. */
  readonly retryForbidden: boolean;
  /** What is wrong with which field of the request. */
  readonly fieldViolations: readonly FieldViolation[];
  /** What a stream had passed on before it failed; undefined for every other call. */
  readonly partial: PartialAnswer | undefined;
  protected readonly callFailure: CallFailure | undefined;

  constructor(message: string, details: ErrorDetails = {}) {
    super(
      details.reason ? `${details.reason}: ${message}` : message,
      details.cause === undefined ? undefined : { cause: details.cause },
    );
    this.name = new.target.name;
    this.code = details.code ?? "";
    this.reason = details.reason ?? "";
    this.decisionId = details.decisionId ?? "";
    this.metadata = details.metadata ?? {};
    this.retryAfterSeconds = details.retryAfterSeconds;
    this.retryForbidden = details.retryForbidden ?? false;
    this.fieldViolations = details.fieldViolations ?? [];
    // Not shown where an error is logged: it is long, and what matters of it has its own properties.
    Object.defineProperty(this, "callFailure", { value: details.callFailure, enumerable: false });
    Object.defineProperty(this, "partial", { value: details.partial, enumerable: false });
  }

  /** Every call to a provider that was made, in order. */
  get attempts(): readonly Attempt[] {
    return this.callFailure?.attempts ?? [];
  }

  /** The targets that could not be used, each with its reasons. */
  get rejections(): readonly Rejection[] {
    return this.callFailure?.rejections ?? [];
  }
}

/** An argument cannot be right: nothing was called. */
export class UsageError extends TurnoutError {}

/** The request is malformed or contradicts itself; `fieldViolations` says where. */
export class InvalidRequestError extends TurnoutError {}

/** The request id was used before, with another payload or by a stream that still runs. */
export class RequestIdReusedError extends TurnoutError {}

/** Something named in the request is not known to the sidecar; `reason` says what. */
export class NotFoundError extends TurnoutError {}

/** No token, or a wrong one. */
export class UnauthenticatedError extends TurnoutError {}

/** The token's role or the configuration does not allow it. */
export class PermissionDeniedError extends TurnoutError {}

/** No target can ever serve the request as asked: waiting does not help, `rejections` says why. */
export class NoEligibleTargetError extends TurnoutError {}

/** Budgets alone block every target that fits. */
export class BudgetExhaustedError extends TurnoutError {}

/** The session's own limit is reached. */
export class SessionLimitError extends TurnoutError {}

/** Nothing was sent to any provider: safe to send again, after `retryAfterSeconds` where given. */
export class NothingSentError extends TurnoutError {}

/** Targets fit the request, none can be used now. */
export class AllTargetsUnavailableError extends NothingSentError {}

/** The sidecar itself has no room. */
export class SidecarOverloadedError extends NothingSentError {}

/** The sidecar is stopping. */
export class DrainingError extends NothingSentError {}

/** An executed call failed; `attempts` says what each call to a provider did, the rest what it came to. */
export class CallError extends TurnoutError {
  /** UTF-8 bytes of content that had been passed on and count; undefined where the sidecar could not tell. */
  get deliveredBytes(): number | undefined {
    return this.callFailure === undefined ? undefined : Number(this.callFailure.deliveredBytes);
  }

  /** Tokens of all attempts together; undefined where nothing was used, or nothing is known. */
  get usage(): Usage | undefined {
    return this.callFailure?.usage;
  }

  /** What all attempts cost together, in USD; undefined where that is not known of one of them. */
  get costUsd(): number | undefined {
    return this.callFailure?.costUsd;
  }
}

/** The provider refused the content before any output. */
export class ContentFilteredError extends CallError {}

/** The provider says that the request itself is wrong. */
export class ProviderRejectedRequestError extends CallError {}

/** Every allowed attempt failed and none can have been billed: safe to send again later. */
export class AllAttemptsRefusedError extends CallError {}

/** Every allowed attempt failed, some perhaps billed: sending again is the caller's choice. */
export class AttemptsExhaustedError extends CallError {}

/** The stream broke after output began: what came so far (`partial`) is not the answer. */
export class StreamInterruptedError extends CallError {}

/** The time given to the call ran out. */
export class DeadlineError extends CallError {}

/** The sidecar stopped before the call had ended: sending again is the caller's choice. */
export class DrainCutError extends CallError {}

/** What is to be changed was closed, changed meanwhile, or exists already; `reason` says which. */
export class ConflictError extends TurnoutError {}

/** The revision to resume from is no longer held: watch again without one. */
export class ResumeTooOldError extends TurnoutError {}

/** The contract has it, this version of the sidecar does not. */
export class UnsupportedError extends TurnoutError {}

/** A fault of the sidecar; its log has the details, under the decision id where there is one. */
export class SidecarFaultError extends TurnoutError {}

/** The call failed without an answer of the sidecar's: whether anything was sent is not known. */
export class TransportError extends TurnoutError {}

/** No connection to the sidecar, or it broke: is it running, and is the address right? */
export class UnreachableError extends TransportError {}

/** The sidecar answered in a way that the contract does not allow, such as a stream without its end. */
export class ContractError extends TurnoutError {}

/** Every target of a plan was offered and none was used with success. */
export class PlanExhaustedError extends TurnoutError {}

/** Text that was handed out is void, because the answer began again on another target. */
export class RestartedError extends TurnoutError {}

/** A class of the tree. */
export type ErrorClass = new (message: string, details?: ErrorDetails) => TurnoutError;

/** One row for each reason of the contract; a test walks the enum. */
export const ERRORS_BY_REASON: Readonly<Record<string, ErrorClass>> = {
  INVALID_REQUEST: InvalidRequestError,
  REQUEST_ID_REUSED: RequestIdReusedError,
  UNKNOWN_POLICY: NotFoundError,
  UNKNOWN_TARGET: NotFoundError,
  UNKNOWN_PROVIDER: NotFoundError,
  UNKNOWN_DECISION: NotFoundError,
  UNKNOWN_BUDGET: NotFoundError,
  UNKNOWN_SESSION: NotFoundError,
  UNAUTHENTICATED: UnauthenticatedError,
  PERMISSION_DENIED: PermissionDeniedError,
  REGISTRATION_DISABLED: PermissionDeniedError,
  NO_ELIGIBLE_TARGET: NoEligibleTargetError,
  BUDGET_EXHAUSTED: BudgetExhaustedError,
  SESSION_LIMIT: SessionLimitError,
  ALL_TARGETS_UNAVAILABLE: AllTargetsUnavailableError,
  SIDECAR_OVERLOADED: SidecarOverloadedError,
  DRAINING: DrainingError,
  CONTENT_FILTERED: ContentFilteredError,
  PROVIDER_REJECTED_REQUEST: ProviderRejectedRequestError,
  ALL_ATTEMPTS_REFUSED: AllAttemptsRefusedError,
  ATTEMPTS_EXHAUSTED: AttemptsExhaustedError,
  STREAM_INTERRUPTED: StreamInterruptedError,
  DEADLINE: DeadlineError,
  SESSION_CLOSED: ConflictError,
  STALE_CHECKPOINT: ConflictError,
  STALE_ETAG: ConflictError,
  ALREADY_EXISTS: ConflictError,
  RESUME_TOO_OLD: ResumeTooOldError,
  NOT_IMPLEMENTED: UnsupportedError,
  BUG: SidecarFaultError,
};

/** For reasons that only a newer sidecar knows. */
export const ERRORS_BY_CODE: Readonly<Record<string, ErrorClass>> = {
  DEADLINE_EXCEEDED: DeadlineError,
  INVALID_ARGUMENT: InvalidRequestError,
  NOT_FOUND: NotFoundError,
  PERMISSION_DENIED: PermissionDeniedError,
  UNAUTHENTICATED: UnauthenticatedError,
  INTERNAL: SidecarFaultError,
  UNIMPLEMENTED: UnsupportedError,
};
