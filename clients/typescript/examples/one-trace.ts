/**
 * Makes one request within a span of OpenTelemetry's, so that the sidecar's spans stand below the application's own.
 *
 *     TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 node .build/examples/one-trace.js PROMPT
 *
 * The same program is there in Python, Go and Java; one_trace_of_four.py among the examples in Python runs all four
 * within one trace. TRACEPARENT and TRACESTATE say whose trace it is; without them, or where they are malformed, a new
 * one begins. The span goes by OTLP over gRPC to OTEL_EXPORTER_OTLP_ENDPOINT, else http://localhost:4317. The answer
 * comes as one line of JSON with `language`, `target`, `decision_id` and `text`. The sidecar is found as every client
 * finds it: TURNOUT_ADDRESS, else 127.0.0.1:50151. Exit codes: 0 an answer, 1 failure, 2 wrong usage.
 */

import { context, type Context, propagation, ROOT_CONTEXT, SpanStatusCode, type Tracer } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import { type Answer, chat, Client, TurnoutError, UsageError } from "@turnout/client";

/** Whoever started this process; a context without a span where that did not say. */
function parentContext(): Context {
  const carrier = {
    traceparent: process.env["TRACEPARENT"] ?? "",
    tracestate: process.env["TRACESTATE"] ?? "",
  };
  return propagation.extract(ROOT_CONTEXT, carrier);
}

/**
 * Makes the request that all four programs make, within a span. The client passes on the span that is current: there is
 * nothing more to be done for that.
 */
async function ask(tracer: Tracer, client: Client, prompt: string): Promise<Answer> {
  return tracer.startActiveSpan("ask", {}, parentContext(), async (span) => {
    try {
      return await client.execute({
        profile: { task: "chat" },
        caller: { labels: { example: "one_trace" } },
        input: chat(prompt),
      });
    } catch (error) {
      span.recordException(error as Error);
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
}

async function main(words: string[]): Promise<number> {
  const [prompt, ...more] = words;
  if (!prompt || more.length > 0) {
    process.stderr.write("usage: one-trace PROMPT\n");
    return 2;
  }
  // Without these two no span is ever the current one, and none is passed on.
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const spans = new TracerProvider({
    resource: resourceFromAttributes({ "service.name": "one-trace-typescript" }),
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
  });
  let client: Client | undefined;
  try {
    client = new Client();
    const answer = await ask(spans.getTracer("one-trace"), client, prompt);
    const told = {
      language: "typescript",
      target: answer.target,
      decision_id: answer.decision.decisionId,
      text: answer.text,
    };
    process.stdout.write(`${JSON.stringify(told)}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof TurnoutError)) throw error;
    process.stderr.write(`one-trace: ${error.message}\n`);
    return error instanceof UsageError ? 2 : 1;
  } finally {
    await client?.close();
    // Sends what is left; a collector that is away is no reason to fail.
    await spans.shutdown().catch((error: unknown) => process.stderr.write(`one-trace: the span was not sent: ${error}\n`));
  }
}

process.exitCode = await main(process.argv.slice(2));
