/** Gets the plan for one call: a kept one, the sidecar's answer, or what is left while the sidecar is away. */

import type { CallOptions } from "./calls.js";
import type { Clock } from "./clock.js";
import { ContractError, TurnoutError, UsageError } from "./errors.js";
import type { RouteRequest, RouteResponse } from "./gen/turnout/v1/router_pb.js";
import type { Choice, Planner } from "./planner.js";
import type { Reporter } from "./reporter.js";
import { ROUTE } from "./rpcs.js";

/** What getting a plan needs. */
export interface PlanningParts {
  readonly planner: Planner;
  readonly reporter: Pick<Reporter, "pressing" | "sendPressing">;
  readonly clock: Clock;
  readonly maxRetryCount: number;
  readonly route: (options: CallOptions & { maxRetryCount: number }) => Promise<RouteResponse>;
}

/** Returns what to call, in which order. */
export async function planFor(
  request: RouteRequest,
  options: CallOptions,
  { planner, reporter, clock, maxRetryCount, route }: PlanningParts,
): Promise<Choice> {
  options.signal?.throwIfAborted();
  const seconds = options.timeoutSeconds ?? ROUTE.timeoutSeconds;
  if (!(seconds > 0)) {
    throw new UsageError(`timeoutSeconds is ${seconds}: give a positive number of seconds, or leave it out`);
  }
  const asking = planner.start(request, clock.monotonic());
  if ("decision" in asking) return asking;
  try {
    const deadline = clock.monotonic() + planner.timeoutSeconds(asking, seconds);
    // The next decision should know of a failure: it goes first, within half of the time, and the question in any case.
    if (reporter.pressing) {
      await reporter.sendPressing((deadline - clock.monotonic()) / 2, options.signal);
      options.signal?.throwIfAborted();
    }
    const asked = { sentAt: clock.monotonic(), uninformed: reporter.pressing };
    const { decision } = await route({
      ...options,
      timeoutSeconds: Math.max(0.001, deadline - asked.sentAt),
      maxRetryCount: asking.fallsBack ? 0 : maxRetryCount,
    });
    if (decision === undefined || decision.candidates.length === 0) {
      throw new ContractError("the sidecar answered Route without a candidate");
    }
    return planner.answered(asking, asked, decision, clock.monotonic());
  } catch (error) {
    const choice = error instanceof TurnoutError ? planner.failed(asking, error, clock.monotonic()) : undefined;
    if (choice === undefined) throw error;
    return choice;
  } finally {
    planner.end(asking);
  }
}
