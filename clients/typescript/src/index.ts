/**
 * Client of Turnout, a gRPC sidecar that routes LLM requests: have a call made (`execute`, `stream`), or ask for a plan
 * and make it yourself (`plan`).
 *
 * @packageDocumentation
 */

export { Answer } from "./answer.js";
export type { CallOptions } from "./calls.js";
export { classify, type Failure } from "./classify.js";
export { Client, type ClientOptions } from "./client.js";
export { type ConnectOptions, DEFAULT_ADDRESS, type TlsOptions } from "./connect.js";
export {
  AllAttemptsRefusedError,
  AllTargetsUnavailableError,
  AttemptsExhaustedError,
  BudgetExhaustedError,
  CallError,
  ConflictError,
  ContentFilteredError,
  ContractError,
  DeadlineError,
  DrainCutError,
  DrainingError,
  type ErrorDetails,
  type FieldViolation,
  InvalidRequestError,
  NoEligibleTargetError,
  NotFoundError,
  NothingSentError,
  type PartialAnswer,
  PermissionDeniedError,
  PlanExhaustedError,
  ProviderRejectedRequestError,
  RequestIdReusedError,
  RestartedError,
  ResumeTooOldError,
  SessionLimitError,
  SidecarFaultError,
  SidecarOverloadedError,
  StreamInterruptedError,
  TransportError,
  TurnoutError,
  UnauthenticatedError,
  UnreachableError,
  UnsupportedError,
  UsageError,
} from "./errors.js";
export type { Fallback } from "./fallback.js";
export { type ChatOptions, chat, type Piece, type RoleName, type Turn } from "./messages.js";
export type { Plan, PlanFunction, PlanResult, PlanTarget, TokenUsage, ToldFailure } from "./plan.js";
export type { Stream, TextOptions } from "./stream.js";
export { parseTarget, targetName } from "./target.js";
