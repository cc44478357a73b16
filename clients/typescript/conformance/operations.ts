/** The suite's operations, each by the client's public methods. */

import { createRequire } from "node:module";
import { type DescMessage, fromJson, type JsonValue, type MessageShape, toJson } from "@bufbuild/protobuf";
import { type CallOptions, Client, type ClientOptions, type Fallback, UsageError } from "@turnout/client";
import {
  type Completion,
  CompletionSchema,
  ExecuteRequestSchema,
  ExecuteResponseSchema,
  ExecuteStreamRequestSchema,
  type ExecuteStreamResponse,
  PartSchema,
  ProviderStatusRequestSchema,
  ProviderStatusResponseSchema,
  ReportOutcomeRequestSchema,
  ReportOutcomeResponseSchema,
  RouteRequestSchema,
  RouteResponseSchema,
  WatchProviderStatusRequestSchema,
  WatchProviderStatusResponseSchema,
} from "@turnout/client/v1";
import { Application, type Script } from "./application.js";
import { type Json, messagesJson, Told, Unsupported } from "./telling.js";

const FLUSH_SECONDS = 5;
const require = createRequire(import.meta.url);

/** One operation as it came in. */
export interface Asked extends Json {
  readonly id: number;
  readonly op: string;
  readonly client?: string;
  readonly timeout_seconds?: number;
  readonly count?: number;
  readonly stop_after_deltas?: number;
  readonly targets?: Record<string, Script>;
}

/** The clients that a suite has opened, by name, and what it may ask of them. */
export class Operations {
  readonly #clients = new Map<string, Client>();

  /** Carries an operation out and returns its result. */
  async carryOut(asked: Asked, signal: AbortSignal): Promise<Json> {
    const options: CallOptions =
      asked.timeout_seconds === undefined ? { signal } : { signal, timeoutSeconds: asked.timeout_seconds };
    switch (asked.op) {
      case "hello":
        return {
          language: "typescript",
          client: versionOf("@turnout/client"),
          runtime: `node${process.versions.node}`,
          grpc: versionOf("@grpc/grpc-js"),
        };
      case "open":
        return this.#open(asked);
      case "close":
        await this.#client(asked).close();
        this.#clients.delete(asked.client ?? "");
        return {};
      case "route": {
        const response = await this.#client(asked).route(message(RouteRequestSchema, asked), options);
        return { response: toJson(RouteResponseSchema, response) };
      }
      case "execute": {
        const answer = await this.#client(asked).execute(message(ExecuteRequestSchema, asked), options);
        return { response: toJson(ExecuteResponseSchema, answer.response) };
      }
      case "report": {
        const response = await this.#client(asked).report(message(ReportOutcomeRequestSchema, asked), options);
        return { response: toJson(ReportOutcomeResponseSchema, response) };
      }
      case "status": {
        const response = await this.#client(asked).status(message(ProviderStatusRequestSchema, asked), options);
        return { response: toJson(ProviderStatusResponseSchema, response) };
      }
      case "stream":
        return this.#stream(asked, options);
      case "watch":
        return this.#watch(asked, options);
      case "plan":
        return this.#plan(asked, options);
      case "flush": {
        const client = this.#client(asked);
        await client.flush(FLUSH_SECONDS);
        return { unreported: client.unreportedCount + client.pendingReportCount };
      }
      case "measure":
        return this.#measure(asked, options);
      default:
        throw new Unsupported(`${asked.op} is not an operation of this driver`);
    }
  }

  /** Closes what is still open. */
  async closeAll(): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client.close()));
  }

  #open(asked: Asked): Json {
    const name = asked.client ?? "";
    if (this.#clients.has(name)) throw new UsageError(`a client ${name} is open already`);
    const tls = asked["tls"] as Record<string, string> | undefined;
    const given = {
      address: asked["address"],
      token: asked["token"],
      tokenFile: asked["token_file"],
      tls:
        tls &&
        known({
          caFile: tls["ca_file"],
          certFile: tls["cert_file"],
          keyFile: tls["key_file"],
          serverName: tls["server_name"],
        }),
      maxRetryCount: asked["max_retry_count"],
      planCache: asked["plan_cache"],
      fallback: asked["fallback"] as Fallback | undefined,
    };
    const client = new Client({
      ...(known(given) as ClientOptions),
      onWarning: (warning) => {
        process.stderr.write(`${warning}\n`);
      },
    });
    this.#clients.set(name, client);
    return { address: client.address };
  }

  async #stream(asked: Asked, options: CallOptions): Promise<Json> {
    const stream = this.#client(asked).stream(message(ExecuteStreamRequestSchema, asked), options);
    const events: string[] = [];
    let deltaCount = 0;
    let completion: Completion | undefined;
    try {
      for await (const { event } of stream as AsyncIterable<ExecuteStreamResponse>) {
        if (event.case !== "delta" || events.at(-1) !== "delta") events.push(event.case ?? "unknown");
        if (event.case === "delta") deltaCount += 1;
        if (event.case === "completion") completion = event.value;
        if (deltaCount === asked.stop_after_deltas) break;
      }
    } catch (error) {
      throw new Told(error, { text: stream.textSoFar, parts: messagesJson(PartSchema, stream.partsSoFar), events });
    }
    return {
      text: stream.textSoFar,
      parts: messagesJson(PartSchema, stream.partsSoFar),
      events,
      restart_count: events.filter((event) => event === "restart").length,
      stopped: completion === undefined,
      ...(completion === undefined ? {} : { completion: toJson(CompletionSchema, completion) }),
    };
  }

  async #watch(asked: Asked, options: CallOptions): Promise<Json> {
    const messages: unknown[] = [];
    const request = message(WatchProviderStatusRequestSchema, asked);
    for await (const change of this.#client(asked).watchStatus(request, options)) {
      messages.push(toJson(WatchProviderStatusResponseSchema, change));
      if (messages.length >= (asked.count ?? 1)) break;
    }
    return { messages };
  }

  async #plan(asked: Asked, options: CallOptions): Promise<Json> {
    const application = new Application(asked.targets);
    const request = message(RouteRequestSchema, asked);
    try {
      const { plan } = await this.#client(asked).plan(request, application.call, options);
      return {
        called: application.called,
        ok: true,
        reused: plan.reused,
        stale: plan.stale,
        stale_reason: plan.staleReason,
        decision_id: plan.decision.decisionId,
      };
    } catch (error) {
      throw new Told(error, { called: application.called });
    }
  }

  async #measure(asked: Asked, options: CallOptions): Promise<Json> {
    const client = this.#client(asked);
    const request = message(RouteRequestSchema, asked);
    const application = new Application();
    const count = asked.count ?? 1;
    const asking: number[] = [];
    const reusing: number[] = [];
    while (asking.length < count) {
      const began = performance.now();
      await client.route(request, options);
      asking.push((performance.now() - began) / 1000);
    }
    while (reusing.length < count) {
      const began = performance.now();
      const { plan } = await client.plan(request, application.call, options);
      const seconds = (performance.now() - began) / 1000;
      if (plan.reused) reusing.push(seconds);
    }
    return { route_seconds: median(asking), reused_seconds: median(reusing) };
  }

  #client(asked: Asked): Client {
    const client = this.#clients.get(asked.client ?? "");
    if (client === undefined) throw new UsageError(`no client ${asked.client ?? ""} is open`);
    return client;
  }
}

function message<D extends DescMessage>(schema: D, asked: Asked): MessageShape<D> {
  try {
    return fromJson(schema, (asked["request"] ?? {}) as JsonValue);
  } catch (error) {
    throw new UsageError(String(error));
  }
}

function known(given: Json): Json {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined && value !== null));
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function versionOf(name: string): string {
  return (require(`${name}/package.json`) as { version: string }).version;
}
