/** Carries the caller's current trace context to the sidecar, where OpenTelemetry is installed; else does nothing. */

import { createRequire } from "node:module";

/** Writes the current context into a carrier. */
export type Inject = (carrier: Record<string, string>) => void;

/** What the contract accepts; other propagators' keys are not sent. */
const CONTEXT_KEYS = ["traceparent", "tracestate", "baggage"] as const;

/** Longer values are left out: the sidecar takes 8 KiB of metadata in all, and a trace must not fail a call. */
const MAX_VALUE_CHARACTERS = 2048;

/** What is used of @opentelemetry/api: named here so that this package's types do not need it. */
interface OpenTelemetryApi {
  readonly context: { active(): unknown };
  readonly propagation: { inject(context: unknown, carrier: Record<string, string>): void };
}

/** Returns OpenTelemetry's way to write the current context, undefined where the package is not installed. */
export function installedInject(): Inject | undefined {
  let api: OpenTelemetryApi;
  try {
    api = createRequire(import.meta.url)("@opentelemetry/api") as OpenTelemetryApi;
  } catch {
    return undefined;
  }
  return (carrier) => {
    api.propagation.inject(api.context.active(), carrier);
  };
}

/** Returns the metadata that makes the sidecar's spans children of the current span; empty without one. */
export function traceMetadata(inject: Inject | undefined): [string, string][] {
  if (inject === undefined) return [];
  const carrier: Record<string, string> = {};
  try {
    inject(carrier);
  } catch {
    // A propagator of the application's that fails is no reason for a call to fail.
    return [];
  }
  const kept: [string, string][] = [];
  for (const key of CONTEXT_KEYS) {
    const value = carrier[key];
    if (value && value.length <= MAX_VALUE_CHARACTERS && /^[\x20-\x7e]+$/.test(value)) kept.push([key, value]);
  }
  return kept;
}
