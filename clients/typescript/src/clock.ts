/** Time and chance as arguments, so that rules which rest on them can be tested without waiting. */

/** Both clocks in seconds. */
export interface Clock {
  /** Seconds on a clock that is never set back; for durations. */
  monotonic(): number;
  /** Seconds since the epoch; for dates alone. */
  wall(): number;
}

/** Returns a number from 0 to below 1. */
export type Random = () => number;

/** The clocks of this process. */
export const systemClock: Clock = {
  monotonic: () => performance.now() / 1000,
  wall: () => Date.now() / 1000,
};

/** The longest time that a timer of Node's takes, in milliseconds. */
export const MAX_TIMER_MILLISECONDS = 2 ** 31 - 1;

/** Waits so many seconds. Rejects with the signal's reason as soon as it is aborted. */
export function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const aborted = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(
      () => {
        signal?.removeEventListener("abort", aborted);
        resolve();
      },
      Math.min(seconds * 1000, MAX_TIMER_MILLISECONDS),
    );
    signal?.addEventListener("abort", aborted, { once: true });
  });
}
