/** The static order: the targets that a configuration names for the time when neither sidecar nor any plan is there. */

import { create } from "@bufbuild/protobuf";
import { UsageError } from "./errors.js";
import { type Candidate, CandidateSchema, type RouteRequest } from "./gen/turnout/v1/router_pb.js";
import { isAllowed, parseTarget } from "./target.js";

/** Targets in order, best first; or such lists by task, with "" for all other tasks. */
export type Fallback = readonly string[] | Readonly<Record<string, readonly string[]>>;

/** In one list; a request's `include` may name as many. */
const MAX_TARGET_COUNT = 256;

/** The targets to fall back on, by task. */
export class StaticOrder {
  readonly #byTask: ReadonlyMap<string, readonly Candidate[]>;

  /** @throws {@link UsageError} for what is no list of targets. */
  constructor(fallback: Fallback = []) {
    const lists: [string, unknown][] = Array.isArray(fallback) ? [["", fallback]] : Object.entries(fallback);
    this.#byTask = new Map(lists.map(([task, targets]) => [task, candidatesOf(task, targets)]));
  }

  /** Returns the targets for a request, without those that its own options rule out; empty for none. */
  candidates(request: RouteRequest): readonly Candidate[] {
    const found = this.#byTask.get(request.profile?.task ?? "") ?? this.#byTask.get("") ?? [];
    return found.filter((candidate) => isAllowed(candidate, request.options));
  }
}

function candidatesOf(task: string, targets: unknown): Candidate[] {
  const where = task ? `fallback[${JSON.stringify(task)}]` : "fallback";
  if (!Array.isArray(targets)) {
    throw new UsageError(`${where} is no list of targets: give one such as ["openai/gpt-4o"]`);
  }
  if (targets.length > MAX_TARGET_COUNT) {
    throw new UsageError(`${where} has ${targets.length} targets: give at most ${MAX_TARGET_COUNT}`);
  }
  return targets.map((target, place) => {
    try {
      return create(CandidateSchema, { target: parseTarget(String(target)) });
    } catch (error) {
      throw new UsageError(`${where}[${place}]: ${(error as Error).message}`);
    }
  });
}
