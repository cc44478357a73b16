import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { context, propagation, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { status } from "@grpc/grpc-js";
import {
  AllTargetsUnavailableError,
  chat,
  Client,
  type ClientOptions,
  ContractError,
  DeadlineError,
  SidecarOverloadedError,
  TransportError,
  UnauthenticatedError,
  UnreachableError,
  UsageError,
} from "@turnout/client";
import { refusal, type Scripted, scripted } from "./scripted.js";
import { until } from "./world.js";

const PROMPT = { input: chat("Hello") };
const PLAN = {
  decision: {
    decisionId: "d",
    candidates: [{ target: { provider: "a", model: "m" } }],
    reusable: true,
    validFor: { seconds: 60n },
  },
};
const NO_ROOM = refusal(status.RESOURCE_EXHAUSTED, "SIDECAR_OVERLOADED", { "grpc-retry-pushback-ms": "1" });
const opened: { close(): unknown }[] = [];

after(async () => {
  for (const each of opened) await each.close();
});

async function serving(methods: Parameters<typeof scripted>[0]): Promise<Scripted> {
  const made = await scripted(methods);
  opened.push(made);
  return made;
}

function client(address: string, options: ClientOptions = {}): Client {
  const made = new Client({ address, ...options });
  opened.unshift(made);
  return made;
}

test("a call is repeated where the contract allows it, and counted", async () => {
  const sidecar = await serving({
    route: (_request, _metadata, count) => (count <= 2 ? NO_ROOM : PLAN),
    execute: () => NO_ROOM,
    reportOutcome: () => refusal(status.UNAVAILABLE, "DRAINING", { "grpc-retry-pushback-ms": "-1" }),
  });

  const { decision } = await client(sidecar.address).route({});
  assert.equal(decision?.decisionId, "d");
  assert.equal(sidecar.counts["route"], 3);
  await assert.rejects(client(sidecar.address).execute(PROMPT), SidecarOverloadedError);
  assert.equal(sidecar.counts["execute"], 4);
  await assert.rejects(client(sidecar.address, { maxRetryCount: 1 }).execute(PROMPT), SidecarOverloadedError);
  assert.equal(sidecar.counts["execute"], 6);
  await assert.rejects(client(sidecar.address).report({}), /DRAINING/);
  assert.equal(sidecar.counts["reportOutcome"], 1);
});

test("a lost connection does not say that nothing was sent: Route goes again, Execute does not", async () => {
  const sidecar = await serving({
    route: (_request, _metadata, count) => (count === 1 ? refusal(status.UNAVAILABLE) : PLAN),
    execute: () => refusal(status.UNAVAILABLE),
  });

  await client(sidecar.address).route({});
  assert.equal(sidecar.counts["route"], 2);
  await assert.rejects(client(sidecar.address).execute(PROMPT), UnreachableError);
  assert.equal(sidecar.counts["execute"], 1);
});

test("no answer is waited for beyond the deadline, which covers all tries", async () => {
  const sidecar = await serving({
    execute: () => refusal(status.UNAVAILABLE, "ALL_TARGETS_UNAVAILABLE", { "grpc-retry-pushback-ms": "30000" }),
    route: () => new Promise(() => {}),
  });

  await assert.rejects(client(sidecar.address).execute(PROMPT, { timeoutSeconds: 20 }), AllTargetsUnavailableError);
  assert.equal(sidecar.counts["execute"], 1);
  await assert.rejects(client(sidecar.address).route({}, { timeoutSeconds: 0.05 }), DeadlineError);
});

test("a token that was replaced in its file is sent once, and one that was not is no reason to go again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "turnout-ts-token-"));
  opened.push({ close: () => rmSync(folder, { recursive: true, force: true }) });
  const file = join(folder, "token");
  writeFileSync(file, "old");
  const sidecar = await serving({
    route: (_request, metadata) =>
      metadata.get("authorization")[0] === "Bearer new" ? PLAN : refusal(status.UNAUTHENTICATED, "UNAUTHENTICATED"),
    watchProviderStatus: (call, _count, metadata) => {
      if (metadata.get("authorization")[0] !== "Bearer newer")
        call.end(refusal(status.UNAUTHENTICATED, "UNAUTHENTICATED"));
      else call.write({ revision: 7n });
    },
  });
  const made = client(sidecar.address, { tokenFile: file });

  await assert.rejects(made.route({}), UnauthenticatedError);
  assert.equal(sidecar.counts["route"], 1);
  writeFileSync(file, "new\n");
  await made.route({});
  assert.equal(sidecar.counts["route"], 3);
  await made.route({});
  assert.equal(sidecar.counts["route"], 4);
  writeFileSync(file, "newer");
  for await (const { revision } of made.watchStatus()) {
    assert.equal(revision, 7n);
    break;
  }
  assert.equal(sidecar.counts["watchProviderStatus"], 2);
});

test("a stream that ends without its completion is a contract error with what came so far", async () => {
  const sidecar = await serving({
    executeStream: (call) => {
      call.write({ event: { case: "attempt", value: { attemptId: "1", target: { provider: "a", model: "m" } } } });
      call.write({ event: { case: "delta", value: { attemptId: "1", content: { case: "text", value: "half an" } } } });
      call.end();
    },
  });
  const stream = client(sidecar.address).stream(PROMPT);

  await assert.rejects(stream.answer(), (error) => {
    assert.ok(error instanceof ContractError);
    assert.equal(error.partial?.text, "half an");
    return true;
  });
});

test("a stream is made again before its first content, and never after", async () => {
  const delta = { event: { case: "delta", value: { attemptId: "1", content: { case: "text", value: "x" } } } };
  const sidecar = await serving({
    executeStream: (call, count) => {
      if (count === 1) call.end(NO_ROOM);
      else {
        call.write(delta);
        setTimeout(() => call.end(NO_ROOM), 5);
      }
    },
  });

  await assert.rejects(client(sidecar.address).stream(PROMPT).answer(), SidecarOverloadedError);
  assert.equal(sidecar.counts["executeStream"], 2);
});

test("what a newer sidecar says besides does no harm", async () => {
  const sidecar = await serving({
    executeStream: (call) => {
      call.write({});
      call.write({ event: { case: "delta", value: { attemptId: "1", content: { case: "text", value: "x" } } } });
      call.write({ event: { case: "completion", value: { finishReason: 99, target: { provider: "a", model: "m" } } } });
      call.end();
    },
  });
  const answer = await client(sidecar.address).stream(PROMPT).answer();

  assert.equal(answer.text, "x");
  assert.equal(answer.finishReason, 99);
});

test("an answer that cannot be read is a contract error", async () => {
  const sidecar = await serving({ route: () => Buffer.from([0xff, 0xff]) });

  await assert.rejects(client(sidecar.address).route({}), ContractError);
  assert.equal(sidecar.counts["route"], 1);
});

test("wrong arguments are found before any call", async () => {
  const sidecar = await serving({ route: () => PLAN });
  const made = client(sidecar.address);

  await assert.rejects(made.route({}, { timeoutSeconds: -1 }), UsageError);
  await assert.rejects(made.route({}, { timeoutSeconds: Number.NaN }), UsageError);
  await assert.rejects(
    made.route({ profile: { inputTokens: "ten" as never } }),
    /the request cannot be sent: .*input_tokens/,
  );
  assert.throws(() => new Client({ maxRetryCount: -1 }), UsageError);
  assert.throws(() => made.stream(PROMPT, { timeoutSeconds: 0 }), UsageError);
  assert.equal(sidecar.counts["route"], undefined);
});

test("closing ends what runs, and later calls are refused", async () => {
  const sidecar = await serving({
    route: () => new Promise(() => {}),
    executeStream: (call) => call.write({ event: { case: "decision", value: {} } }),
  });
  const made = client(sidecar.address);
  const stuck = made.route({}, { timeoutSeconds: 60 });
  const stream = made.stream(PROMPT)[Symbol.asyncIterator]();
  await stream.next();
  const reading = stream.next();
  const both = Promise.all([
    assert.rejects(stuck, (error) => error instanceof TransportError && error.code === "CANCELLED"),
    assert.rejects(reading, (error) => error instanceof TransportError && error.code === "CANCELLED"),
  ]);
  await made.close();

  await both;
  await assert.rejects(made.route({}), /the client is closed/);
});

test("closing a stream while somebody reads it ends the reading and the call", async () => {
  let cancelled: Promise<void> | undefined;
  const sidecar = await serving({
    executeStream: (call) => {
      cancelled = call.cancelled;
      call.write({ event: { case: "decision", value: {} } });
    },
  });
  const stream = client(sidecar.address).stream(PROMPT);
  const events = stream[Symbol.asyncIterator]();
  await events.next();
  const reading = assert.rejects(events.next(), { name: "AbortError" });
  await stream.close();

  await reading;
  await cancelled;
  await assert.rejects(
    client(sidecar.address)
      .stream(PROMPT, { signal: AbortSignal.abort(new Error("no")) })
      .answer(),
    /no/,
  );
});

test("reports go in the background, with no trace of whoever caused them", async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const seen: Record<string, unknown[]> = { route: [], report: [] };
  const sidecar = await serving({
    route: (_request, metadata) => {
      seen["route"]!.push(metadata.get("traceparent")[0], metadata.get("tracestate")[0]);
      return PLAN;
    },
    reportOutcome: (_request, metadata) => {
      seen["report"]!.push(metadata.get("traceparent")[0]);
      return {};
    },
  });
  const made = client(sidecar.address);
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const span = propagation.extract(ROOT_CONTEXT, { traceparent, tracestate: "a=b" });
  assert.equal(trace.getSpanContext(span)?.spanId, "b7ad6b7169203331");
  await context.with(span, () => made.plan({}, () => 1));
  await made.route({});
  assert.equal(await made.flush(30), true);

  assert.deepEqual(seen["route"], [traceparent, "a=b", undefined, undefined]);
  assert.deepEqual(seen["report"], [undefined]);
});

test("a failing target is left within one outcome, and the sidecar hears of it before it is asked", async () => {
  const heard: string[] = [];
  const sidecar = await serving({
    route: () => {
      heard.push("route");
      return PLAN;
    },
    reportOutcome: (request: { outcomes: { ok: boolean }[] }) => {
      heard.push(...request.outcomes.map(({ ok }) => (ok ? "ok" : "failed")));
      return {};
    },
  });
  const made = client(sidecar.address);
  const failing = (): never => {
    throw Object.assign(new Error("HTTP 503"), { status: 503 });
  };
  for (const call of [() => 1, () => 2, failing]) await made.plan({}, call).catch(() => {});
  assert.equal(heard.filter((each) => each === "route").length, 1);
  const next = await made.plan({}, () => 3);
  assert.equal(next.plan.reused, false);
  await until("a plan is kept again", async () => (await made.plan({}, () => 4)).plan.reused);

  const failed = heard.indexOf("failed");
  assert.ok(failed >= 0 && failed < heard.lastIndexOf("route"), heard.join());
  await until("all is told", () => made.flush(1));
  assert.equal(heard.filter((each) => each === "failed").length, 1);
});

test("closing ends a call that waits for its next try", async () => {
  const wait = { "grpc-retry-pushback-ms": "300000" };
  const sidecar = await serving({
    execute: () => refusal(status.RESOURCE_EXHAUSTED, "SIDECAR_OVERLOADED", wait),
    executeStream: (call) => call.end(refusal(status.RESOURCE_EXHAUSTED, "SIDECAR_OVERLOADED", wait)),
  });
  const made = client(sidecar.address);
  const closed = (error: unknown): boolean => error instanceof TransportError && error.code === "CANCELLED";
  const stop = new AbortController();
  const ends = Promise.all([
    assert.rejects(made.execute(PROMPT), closed),
    assert.rejects(made.stream(PROMPT).answer(), closed),
    assert.rejects(made.execute(PROMPT, { signal: stop.signal }), /stopped/),
  ]);
  await until("all have been told to wait", () => sidecar.counts["execute"] === 2 && !!sidecar.counts["executeStream"]);
  stop.abort(new Error("stopped"));
  await made.close();

  await ends;
});

test("a closed client has no kept plan either", async () => {
  const sidecar = await serving({ route: () => PLAN, reportOutcome: () => ({}) });
  const made = client(sidecar.address);
  await made.plan({}, () => 1);
  await made.close();

  await assert.rejects(
    made.plan({}, () => 2),
    /the client is closed/,
  );
});

test("who waits for a report that goes first can be stopped", async () => {
  const sidecar = await serving({ route: () => PLAN, reportOutcome: () => new Promise(() => {}) });
  const made = client(sidecar.address, { planCache: false, onWarning: () => {} });
  const failing = (): never => {
    throw Object.assign(new Error("HTTP 503"), { status: 503 });
  };
  await made.plan({}, failing).catch(() => {});
  const stop = new AbortController();
  // Half of its time is the report's, which takes 5 s to fail.
  const going = made.plan({}, () => 1, { signal: stop.signal, timeoutSeconds: 60 });
  await until("the report is under way", () => sidecar.counts["reportOutcome"] === 1);
  stop.abort(new Error("stopped"));

  const first = await Promise.race([going.catch((error: Error) => error.message), made.flush(60)]);
  assert.equal(first, "stopped");
  assert.equal(sidecar.counts["route"], 1);
});

test("a signal may be shared by many calls, and a deadline may be as far as it will", async () => {
  const warnings: string[] = [];
  const note = (warning: Error): unknown => warnings.push(warning.name);
  process.on("warning", note);
  const sidecar = await serving({ route: () => PLAN, executeStream: (call) => call.end(), reportOutcome: () => ({}) });
  const made = client(sidecar.address);
  const { signal } = new AbortController();
  const options = { signal, timeoutSeconds: 60 };
  await Promise.all(Array.from({ length: 100 }, () => made.route({}, options)));
  await Promise.all(Array.from({ length: 100 }, () => assert.rejects(made.stream(PROMPT, options).answer())));
  for (const timeoutSeconds of [1e9, 1e12, Number.MAX_VALUE, Infinity]) await made.route({}, { timeoutSeconds });
  process.off("warning", note);

  assert.deepEqual(warnings, []);
});

test("a request that is none is a wrong argument for a plan and a report as well", async () => {
  const made = client("127.0.0.1:1");

  await assert.rejects(made.plan({ profile: 7 as never }, () => 1), UsageError);
  await assert.rejects(made.report({ outcomes: [{ target: 7 as never }] }), UsageError);
});
