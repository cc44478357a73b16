/** The client: one connection to one sidecar, for a whole process. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Answer } from "./answer.js";
import { type CallOptions, Calls } from "./calls.js";
import { systemClock } from "./clock.js";
import { type ConnectOptions, connect } from "./connect.js";
import { UsageError } from "./errors.js";
import { type Fallback, StaticOrder } from "./fallback.js";
import {
  type ExecuteRequestSchema,
  type ExecuteStreamRequestSchema,
  type ProviderStatusRequestSchema,
  type ProviderStatusResponse,
  type ReportOutcomeRequest,
  ReportOutcomeRequestSchema,
  type ReportOutcomeResponse,
  type RouteRequest,
  RouteRequestSchema,
  type RouteResponse,
  type WatchProviderStatusRequestSchema,
  type WatchProviderStatusResponse,
} from "./gen/turnout/v1/router_pb.js";
import { chat } from "./messages.js";
import { follow, type PlanFunction, type PlanResult } from "./plan.js";
import { Planner } from "./planner.js";
import { planFor } from "./planning.js";
import { Reporter, systemTimer } from "./reporter.js";
import {
  EXECUTE_CALL,
  EXECUTE_STREAM,
  MAX_RETRY_COUNT,
  PROVIDER_STATUS,
  REPORT_CLOSE_SECONDS,
  REPORT_OUTCOME,
  ROUTE,
  WATCH,
} from "./rpcs.js";
import { sendable } from "./sendable.js";
import { Stream } from "./stream.js";
import { installedInject } from "./trace.js";

/** How long `flush` waits unless told otherwise, in seconds. */
const FLUSH_SECONDS = 5;

/** How to make a client. Everything may be left out. */
export interface ClientOptions extends ConnectOptions {
  /** The most retries of a call, 0 for none. Absent: 3. */
  readonly maxRetryCount?: number;
  /** Whether plans are used again while the sidecar allows it. Absent: yes. */
  readonly planCache?: boolean;
  /** Targets to go by, best first, where neither the sidecar nor an earlier plan is there; or such lists by task. */
  readonly fallback?: Fallback;
  /** Told what somebody should see: reports that were given up or rejected. Absent: a warning of the process. */
  readonly onWarning?: (message: string) => void;
}

/**
 * A connection to one sidecar. Connecting happens with the first call. One client for a whole process is enough.
 *
 * Every error is a `TurnoutError`; what is aborted rejects with the signal's own reason.
 */
export class Client {
  /** Where the sidecar is: "host:port" or "unix:/path". */
  readonly address: string;
  readonly #calls: Calls;
  readonly #planner: Planner;
  readonly #reporter: Reporter;
  readonly #maxRetryCount: number;

  /** @throws {@link UsageError} for an address or a combination that cannot work. */
  constructor(options: ClientOptions = {}) {
    const connection = connect(options, process.env);
    this.address = connection.address;
    this.#maxRetryCount = options.maxRetryCount ?? MAX_RETRY_COUNT;
    if (!Number.isInteger(this.#maxRetryCount) || this.#maxRetryCount < 0) {
      throw new UsageError(`maxRetryCount is ${this.#maxRetryCount}: give a whole number, 0 for no retries`);
    }
    this.#planner = new Planner({
      caching: options.planCache ?? true,
      fallback: new StaticOrder(options.fallback),
      random: Math.random,
    });
    this.#calls = new Calls(connection, {
      clock: systemClock,
      random: Math.random,
      maxRetryCount: this.#maxRetryCount,
      inject: installedInject(),
    });
    this.#reporter = new Reporter({
      send: (outcomes) =>
        this.#calls.unary(REPORT_OUTCOME, { outcomes: [...outcomes] }, { maxRetryCount: 0, untraced: true }),
      random: Math.random,
      timer: systemTimer,
      warn: options.onWarning ?? ((message) => process.emitWarning(message, "TurnoutWarning")),
    });
  }

  /** Returns the answer to one prompt: `(await client.ask("…")).text`. */
  async ask(prompt: string, options: CallOptions = {}): Promise<Answer> {
    return this.execute({ input: chat(prompt) }, options);
  }

  /** Has the sidecar choose, call, retry and fail over, and returns one complete answer. */
  async execute(request: MessageInitShape<typeof ExecuteRequestSchema>, options: CallOptions = {}): Promise<Answer> {
    return new Answer(await this.#calls.unary(EXECUTE_CALL, request, options));
  }

  /** Does the same as `execute` and passes the answer on while it comes. */
  stream(request: MessageInitShape<typeof ExecuteStreamRequestSchema>, options: CallOptions = {}): Stream {
    return new Stream(
      this.#calls,
      (signal) => this.#calls.prepare(EXECUTE_STREAM, request, { ...options, signal }),
      options.signal,
    );
  }

  /** Returns the decision for a request that the application sends itself; nothing goes to a provider. */
  async route(request: MessageInitShape<typeof RouteRequestSchema>, options: CallOptions = {}): Promise<RouteResponse> {
    return this.#calls.unary(ROUTE, request, options);
  }

  /**
   * Calls the application's own function with the targets of a plan, best first, until one succeeds; reports how each
   * call ended in the background.
   *
   * The plan is one that may be used again, else the sidecar's answer, else, while the sidecar is away, the last plan
   * or the `fallback`. `timeoutSeconds` bounds asking the sidecar, not the function; the signal ends both.
   *
   * @throws `PlanExhaustedError` where all targets failed; what the function throws where another target would not
   * help; the sidecar's refusals.
   */
  async plan<T>(
    request: MessageInitShape<typeof RouteRequestSchema>,
    call: PlanFunction<T>,
    options: CallOptions = {},
  ): Promise<PlanResult<T>> {
    // A kept plan needs no call, and a closed client reports nothing.
    this.#calls.checkOpen(options.signal);
    const message: RouteRequest = sendable(() => create(RouteRequestSchema, request));
    const choice = await planFor(message, options, {
      planner: this.#planner,
      reporter: this.#reporter,
      clock: systemClock,
      timer: systemTimer,
      checkRunning: () => {
        this.#calls.checkRunning();
      },
      maxRetryCount: this.#maxRetryCount,
      route: (asked) => this.#calls.unary(ROUTE, message, asked),
    });
    return follow(choice, call, {
      clock: systemClock,
      signal: options.signal,
      report: (outcome) => {
        this.#planner.noted([outcome], systemClock.monotonic());
        this.#reporter.add(outcome);
      },
    });
  }

  /** Reports outcomes and feedback now; each has its own result in the answer. */
  async report(
    request: MessageInitShape<typeof ReportOutcomeRequestSchema>,
    options: CallOptions = {},
  ): Promise<ReportOutcomeResponse> {
    const message: ReportOutcomeRequest = sendable(() => create(ReportOutcomeRequestSchema, request));
    this.#planner.noted(message.outcomes, systemClock.monotonic());
    try {
      return await this.#calls.unary(REPORT_OUTCOME, message, options);
    } finally {
      // Once more, for a plan that was made meanwhile: the sidecar knew nothing of it.
      this.#planner.noted(message.outcomes, systemClock.monotonic());
    }
  }

  /** Returns the state of providers, of all where none is named. */
  async status(
    request: MessageInitShape<typeof ProviderStatusRequestSchema> = {},
    options: CallOptions = {},
  ): Promise<ProviderStatusResponse> {
    return this.#calls.unary(PROVIDER_STATUS, request, options);
  }

  /**
   * Yields the state of providers: first all of it, then what changed, until the caller leaves the loop.
   *
   * `resumeRevision` of the request is the last one that was seen.
   */
  async *watchStatus(
    request: MessageInitShape<typeof WatchProviderStatusRequestSchema> = {},
    options: CallOptions = {},
  ): AsyncGenerator<WatchProviderStatusResponse, void, undefined> {
    const prepared = this.#calls.prepare(WATCH, request, options);
    for (;;) {
      try {
        yield* this.#calls.stream(WATCH.method, prepared, () => ({}));
        return;
      } catch (error) {
        // Only a token that was replaced makes it begin again.
        await this.#calls.waitAfter(error, prepared);
      }
    }
  }

  /** Waits until all reports are sent or given up; returns whether that came in time. */
  async flush(timeoutSeconds = FLUSH_SECONDS): Promise<boolean> {
    return this.#reporter.flush(timeoutSeconds);
  }

  /** How many outcomes wait to be reported. */
  get pendingReportCount(): number {
    return this.#reporter.pendingCount;
  }

  /** How many outcomes were given up and will not be reported. */
  get unreportedCount(): number {
    return this.#reporter.droppedCount;
  }

  /** Sends the last reports, for at most 2 s, ends what still runs, and closes the connection. */
  async close(): Promise<void> {
    await this.#reporter.close(REPORT_CLOSE_SECONDS);
    this.#calls.close();
  }

  /** The same as `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
