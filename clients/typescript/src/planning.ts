/** Gets the plan for one call: a kept one, the sidecar's answer, or what is left while the sidecar is away. */

import { onAbort } from "./abort.js";
import type { CallOptions } from "./calls.js";
import type { Clock } from "./clock.js";
import { ContractError, TurnoutError, UsageError } from "./errors.js";
import type { RouteRequest, RouteResponse } from "./gen/turnout/v1/router_pb.js";
import type { Choice, Planner } from "./planner.js";
import type { Asking } from "./questions.js";
import type { Reporter, Timer } from "./reporter.js";
import { ROUTE } from "./rpcs.js";

/** What getting a plan needs. */
export interface PlanningParts {
  readonly planner: Planner;
  readonly reporter: Pick<Reporter, "pressing" | "sendPressing">;
  readonly clock: Clock;
  readonly timer: Timer;
  /** Throws where the client was closed in the meantime. */
  readonly checkRunning: () => void;
  readonly maxRetryCount: number;
  readonly route: (options: CallOptions & { maxRetryCount: number }) => Promise<RouteResponse>;
}

/** The longest wait that a timer may be set for, in seconds; whoever has waited so long looks again. */
const MAX_WAIT_SECONDS = 86_400;

/** Returns what to call, in which order. */
export async function planFor(
  request: RouteRequest,
  options: CallOptions,
  { planner, reporter, clock, timer, checkRunning, maxRetryCount, route }: PlanningParts,
): Promise<Choice> {
  options.signal?.throwIfAborted();
  const seconds = options.timeoutSeconds ?? ROUTE.timeoutSeconds;
  if (!(seconds > 0)) {
    throw new UsageError(`timeoutSeconds is ${seconds}: give a positive number of seconds, or leave it out`);
  }
  const asking = planner.start(request, clock.monotonic(), seconds);
  if ("decision" in asking) return asking;
  try {
    while (asking.waitsFor !== undefined) {
      await untilEnded(asking.waitsFor, asking.waitUntil - clock.monotonic(), timer, options.signal);
      options.signal?.throwIfAborted();
      checkRunning();
      const found = planner.again(asking, clock.monotonic());
      if ("decision" in found) return found;
    }
    // The next decision should know of a failure: it goes first, within half of the time, and the question in any case.
    if (reporter.pressing) {
      await reporter.sendPressing((asking.endsAt - clock.monotonic()) / 2, options.signal);
      options.signal?.throwIfAborted();
    }
    const asked = { sentAt: clock.monotonic(), uninformed: reporter.pressing };
    const { decision } = await route({
      ...options,
      timeoutSeconds: Math.max(0.001, asking.endsAt - asked.sentAt),
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

/** Waits for a question that somebody else asks, no longer than told or than the signal lets. */
function untilEnded(other: Asking, seconds: number, timer: Timer, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      other.waiters.delete(go);
      forget();
      cancel();
      resolve();
    };
    const cancel = timer(Math.min(Math.max(0, seconds), MAX_WAIT_SECONDS), true, go);
    const forget = onAbort(signal, go);
    other.waiters.add(go);
  });
}
