/**
 * The conformance suite's way to the TypeScript client: operations as JSON lines on stdin, replies on stdout in any
 * order. The protocol is in tests/conformance/README.md.
 */

import { createInterface } from "node:readline";
import { context, propagation, ROOT_CONTEXT } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { type Asked, Operations } from "./operations.js";
import { errorJson, type Json } from "./telling.js";

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
propagation.setGlobalPropagator(new W3CTraceContextPropagator());

const operations = new Operations();
const running = new Map<number, AbortController>();

function write(reply: Json): void {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

async function serve(asked: Asked): Promise<void> {
  const aborting = new AbortController();
  running.set(asked.id, aborting);
  // The span is current for this operation alone.
  const span = propagation.extract(ROOT_CONTEXT, asked);
  try {
    const result = await context.with(span, () => operations.carryOut(asked, aborting.signal));
    write({ id: asked.id, result });
  } catch (error) {
    write({ id: asked.id, error: errorJson(error, aborting.signal.aborted) });
  } finally {
    running.delete(asked.id);
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
  const asked = JSON.parse(line) as Asked;
  if (asked.op === "cancel") {
    running.get(asked["target"] as number)?.abort();
    write({ id: asked.id, result: {} });
  } else {
    void serve(asked);
  }
}
for (const aborting of running.values()) aborting.abort();
await operations.closeAll();
