/** Listens to signals that many calls may share, such as that of a server's shutdown. */

import { setMaxListeners } from "node:events";

/** Calls back when a signal is aborted; returns what takes that back. */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (signal === undefined) return () => {};
  // Each call takes its listener back: more than ten of them are calls under way, not the leak that Node warns of.
  setMaxListeners(0, signal);
  signal.addEventListener("abort", callback, { once: true });
  return () => {
    signal.removeEventListener("abort", callback);
  };
}
