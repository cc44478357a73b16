/** Decisions and outcomes for tests. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationOf } from "#internal/duration.js";
import { parseTarget } from "#internal/target.js";
import {
  type Candidate,
  type Decision,
  DecisionSchema,
  FailureKind,
  type Outcome,
  OutcomeSchema,
  type RouteRequest,
  RouteRequestSchema,
} from "@turnout/client/v1";

/** A reusable decision for these targets, valid for 10 s unless told otherwise. */
export function decision(
  targets: string[],
  init: { validFor?: number; reusable?: boolean; shares?: number[]; id?: string } = {},
): Decision {
  return create(DecisionSchema, {
    decisionId: init.id ?? "d",
    candidates: targets.map((name, place) => ({ target: parseTarget(name), share: init.shares?.[place] ?? 0 })),
    validFor: durationOf(init.validFor ?? 10),
    reusable: init.reusable ?? true,
  });
}

/** A request for a plan. */
export function request(init: MessageInitShape<typeof RouteRequestSchema> = {}): RouteRequest {
  return create(RouteRequestSchema, init);
}

/** How a call to a target ended. */
export function outcome(target: string, failure?: FailureKind, httpStatus?: number): Outcome {
  const made = create(OutcomeSchema, {
    target: parseTarget(target),
    ok: failure === undefined,
    failure: failure ?? FailureKind.UNSPECIFIED,
  });
  if (httpStatus !== undefined) made.httpStatus = httpStatus;
  return made;
}

/** The targets of candidates by name. */
export function names(candidates: readonly Candidate[]): string[] {
  return candidates.map(({ target }) => `${target?.provider}/${target?.model}`);
}
