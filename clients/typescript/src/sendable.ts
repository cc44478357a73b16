/** Tells of a request that cannot be sent before it is sent, in the same words everywhere. */

import { UsageError } from "./errors.js";

/** Returns what is made of a request. @throws {@link UsageError} where that fails. */
export function sendable<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw new UsageError(`the request cannot be sent: ${(error as Error).message}`, { cause: error });
  }
}
