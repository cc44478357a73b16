/** Reads a failed gRPC call into the error tree: code, trailing metadata, and the `google.rpc` details in it. */

import { fromBinary } from "@bufbuild/protobuf";
import { type Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { secondsOf } from "./duration.js";
import {
  DeadlineError,
  DrainCutError,
  DrainingError,
  ERRORS_BY_CODE,
  ERRORS_BY_REASON,
  type ErrorClass,
  type FieldViolation,
  type PartialAnswer,
  TransportError,
  TurnoutError,
  UnreachableError,
} from "./errors.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";
import { type CallFailure, CallFailureSchema } from "./gen/turnout/v1/router_pb.js";

/** The sidecar's own domain of reasons. */
const DOMAIN = "turnout.dev";

/** What is known beside the status itself. */
export interface StatusContext {
  /** The stream's own last event, which is fuller than the summary in the trailing metadata. */
  readonly callFailure?: CallFailure | undefined;
  /** What had come of a stream. */
  readonly partial?: PartialAnswer | undefined;
}

/** Whether something is the error of a gRPC call. */
export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && typeof (error as Partial<ServiceError>).code === "number" && "metadata" in error;
}

/** Returns the typed error for a failed call. Details that cannot be read are left out. */
export function errorFromRpc(error: ServiceError, context: StatusContext = {}): TurnoutError {
  const code = status[error.code] ?? "UNKNOWN";
  const details = readDetails(error.metadata);
  const pushback = textOf(error.metadata, "grpc-retry-pushback-ms");
  const pushbackSeconds = pushback !== undefined && /^[0-9]+$/.test(pushback) ? Number(pushback) / 1000 : undefined;
  const waits = [pushbackSeconds, details.retryDelaySeconds].filter((wait) => wait !== undefined);
  // gRPC's rule: a negative or unreadable value forbids retries.
  const retryForbidden = pushback !== undefined && pushbackSeconds === undefined;
  const kind = errorClass(code, details.reason, retryForbidden);
  // grpc-js writes this before a note that there mostly is none of.
  const message = (error.details || "").replace(/\.? Resolution note: *$/, "") || code;
  return new kind(
    kind === UnreachableError ? `the sidecar cannot be reached: ${message}; is it running there?` : message,
    {
      code,
      reason: details.reason,
      decisionId: textOf(error.metadata, "turnout-decision-id"),
      metadata: details.metadata,
      retryAfterSeconds: waits.length > 0 ? Math.max(...waits) : undefined,
      retryForbidden,
      fieldViolations: details.fieldViolations,
      callFailure: context.callFailure ?? details.callFailure,
      partial: context.partial,
      cause: error,
    },
  );
}

function errorClass(code: string, reason: string, retryForbidden: boolean): ErrorClass {
  if (!reason) {
    // Without a reason of its domain the sidecar did not speak.
    if (code === "UNAVAILABLE") return UnreachableError;
    return code === "DEADLINE_EXCEEDED" ? DeadlineError : TransportError;
  }
  const kind = (Object.hasOwn(ERRORS_BY_REASON, reason) ? ERRORS_BY_REASON[reason] : undefined) ?? ERRORS_BY_CODE[code];
  // The one reason with two ends: refused at the door, or cut off inside.
  return (kind === DrainingError && retryForbidden ? DrainCutError : kind) ?? TurnoutError;
}

interface Details {
  reason: string;
  metadata: Record<string, string>;
  retryDelaySeconds: number | undefined;
  fieldViolations: FieldViolation[];
  callFailure: CallFailure | undefined;
}

function readDetails(metadata: Metadata | undefined): Details {
  const details: Details = {
    reason: "",
    metadata: {},
    retryDelaySeconds: undefined,
    fieldViolations: [],
    callFailure: undefined,
  };
  const raw = metadata?.get("grpc-status-details-bin")[0];
  if (!(raw instanceof Uint8Array)) return details;
  try {
    for (const { typeUrl, value } of fromBinary(StatusSchema, raw).details) {
      readDetail(details, typeUrl.slice(typeUrl.lastIndexOf("/") + 1), value);
    }
  } catch {
    // What could be read so far is kept: the code and the message still tell the essential.
  }
  return details;
}

function readDetail(details: Details, typeName: string, value: Uint8Array): void {
  if (typeName === ErrorInfoSchema.typeName) {
    const info = fromBinary(ErrorInfoSchema, value);
    if (info.domain === DOMAIN) {
      details.reason = info.reason;
      details.metadata = info.metadata;
    }
  } else if (typeName === RetryInfoSchema.typeName) {
    const delay = fromBinary(RetryInfoSchema, value).retryDelay;
    details.retryDelaySeconds = delay === undefined ? 0 : Math.max(0, secondsOf(delay));
  } else if (typeName === BadRequestSchema.typeName) {
    details.fieldViolations = fromBinary(BadRequestSchema, value).fieldViolations.map(({ field, description }) => ({
      field,
      description,
    }));
  } else if (typeName === CallFailureSchema.typeName) {
    details.callFailure = fromBinary(CallFailureSchema, value);
  }
}

function textOf(metadata: Metadata | undefined, key: string): string | undefined {
  const value = metadata?.get(key)[0];
  return value === undefined ? undefined : value.toString();
}
