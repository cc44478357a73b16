/** How each RPC is called: its deadline where the caller names none, and when it may be called again. */

import type { DescMethod } from "@bufbuild/protobuf";
import { RouterService } from "./gen/turnout/v1/router_pb.js";
import { EXECUTE, IDEMPOTENT, NEVER, type RetryClass } from "./retry.js";

/** The most retries of a call unless the client is told otherwise. */
export const MAX_RETRY_COUNT = 3;

/** How long closing a client waits for the last reports, in seconds. */
export const REPORT_CLOSE_SECONDS = 2;

/** One RPC. `timeoutSeconds` is the default deadline of a call with its retries. */
export interface Rpc<M extends DescMethod> {
  readonly method: M;
  readonly timeoutSeconds: number;
  readonly retryClass: RetryClass;
}

const { method } = RouterService;

export const ROUTE = { method: method.route, timeoutSeconds: 2, retryClass: IDEMPOTENT } as const;
export const REPORT_OUTCOME = { method: method.reportOutcome, timeoutSeconds: 5, retryClass: IDEMPOTENT } as const;
export const PROVIDER_STATUS = { method: method.providerStatus, timeoutSeconds: 5, retryClass: IDEMPOTENT } as const;

/** The sidecar's own default for a call without a deadline. */
export const EXECUTE_CALL = { method: method.execute, timeoutSeconds: 600, retryClass: EXECUTE } as const;

/** The sidecar's own default for the longest stream; how long silence may last is the sidecar's to watch. */
export const EXECUTE_STREAM = { method: method.executeStream, timeoutSeconds: 1800, retryClass: EXECUTE } as const;

/** Watching has no end of its own. */
export const WATCH = {
  method: method.watchProviderStatus,
  timeoutSeconds: Number.POSITIVE_INFINITY,
  retryClass: NEVER,
} as const;
