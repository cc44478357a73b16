/** What the driver writes: errors of the client as the suite's JSON. */

import { type DescMessage, type MessageShape, toJson } from "@bufbuild/protobuf";
import {
  CallError,
  ContractError,
  DeadlineError,
  PlanExhaustedError,
  TurnoutError,
  UnreachableError,
  UsageError,
} from "@turnout/client";
import { AttemptSchema, PartSchema, RejectionSchema, UsageSchema } from "@turnout/client/v1";

/** A JSON object. */
export type Json = Record<string, unknown>;

/** An operation that this driver does not know. */
export class Unsupported extends Error {}

/** An error that is told with more than it carries itself. */
export class Told extends Error {
  readonly told: unknown;
  readonly also: Json;

  constructor(told: unknown, also: Json) {
    super(String(told));
    this.told = told;
    this.also = also;
  }
}

/** Returns messages as protobuf's own JSON. */
export function messagesJson<D extends DescMessage>(schema: D, messages: Iterable<MessageShape<D>>): unknown[] {
  return [...messages].map((message) => toJson(schema, message));
}

/** Returns an error as the suite compares it; what is not known is left out. */
export function errorJson(error: unknown, cancelled: boolean): Json {
  if (error instanceof Told) return { ...errorJson(error.told, cancelled), ...error.also };
  const told: Json = {
    kind: cancelled ? "CANCELLED" : kindOf(error),
    type: error instanceof Error ? error.name : typeof error,
    message: error instanceof Error ? error.message : String(error),
  };
  if (error instanceof TurnoutError) {
    Object.assign(told, {
      reason: error.reason,
      code: error.code,
      field_violations: error.fieldViolations,
      retry_after_seconds: error.retryAfterSeconds,
      retry_forbidden: error.retryForbidden,
      decision_id: error.decisionId,
      attempts: messagesJson(AttemptSchema, error.attempts),
      rejections: messagesJson(RejectionSchema, error.rejections),
    });
    if (error.partial !== undefined) {
      told["text"] = error.partial.text;
      told["parts"] = messagesJson(PartSchema, error.partial.parts);
    }
  }
  if (error instanceof CallError) {
    told["delivered_bytes"] = error.deliveredBytes;
    told["usage"] = error.usage && toJson(UsageSchema, error.usage);
    told["cost_usd"] = error.costUsd;
  }
  return Object.fromEntries(
    Object.entries(told).filter(
      ([name, value]) =>
        name === "text" || (value !== undefined && value !== "" && !(Array.isArray(value) && value.length === 0)),
    ),
  );
}

function kindOf(error: unknown): string {
  if (error instanceof Unsupported) return "UNSUPPORTED";
  if (error instanceof UsageError) return "USAGE";
  if (error instanceof PlanExhaustedError) return "PLAN_EXHAUSTED";
  if (error instanceof ContractError) return "CONTRACT";
  if (!(error instanceof TurnoutError)) return "APPLICATION";
  if (error.reason) return "REFUSED";
  if (error instanceof UnreachableError) return "UNREACHABLE";
  return error instanceof DeadlineError ? "DEADLINE" : "TRANSPORT";
}
