/** Durations of the contract from and to seconds, as the rest of this package counts them. */

import { create } from "@bufbuild/protobuf";
import { type Duration, DurationSchema, type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";

/** The longest duration that a report may state, in seconds. */
const MAX_SECONDS = 86_400;

/** Returns a duration in seconds. */
export function secondsOf(duration: Duration): number {
  return Number(duration.seconds) + duration.nanos / 1e9;
}

/** Returns a duration of 0 to 24 h, to the microsecond. */
export function durationOf(seconds: number): Duration {
  const micros = Math.round(Math.min(Math.max(0, seconds), MAX_SECONDS) * 1e6);
  return create(DurationSchema, { seconds: BigInt(Math.floor(micros / 1e6)), nanos: (micros % 1e6) * 1000 });
}

/** Returns a point in time, given in seconds since the epoch, to the microsecond. */
export function timestampOf(seconds: number): Timestamp {
  const micros = Math.round(seconds * 1e6);
  return create(TimestampSchema, { seconds: BigInt(Math.floor(micros / 1e6)), nanos: (micros % 1e6) * 1000 });
}
