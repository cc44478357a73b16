/** Makes calls to the sidecar: deadline, token, trace context, retries, cancellation and typed errors in one place. */

import {
  create,
  type DescMessage,
  type DescMethod,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Client as GrpcClient, Metadata } from "@grpc/grpc-js";
import { onAbort } from "./abort.js";
import { type Clock, type Random, sleep } from "./clock.js";
import type { Connection } from "./connect.js";
import { ContractError, TransportError, TurnoutError, UsageError } from "./errors.js";
import { Tries } from "./retry.js";
import type { Rpc } from "./rpcs.js";
import { sendable } from "./sendable.js";
import { errorFromRpc, isServiceError, type StatusContext } from "./status.js";
import { type Inject, traceMetadata } from "./trace.js";

/** About 30 years. gRPC never answers a call whose deadline it cannot write down, so that a longer one is none. */
const MAX_DEADLINE_SECONDS = 1e9;

/** What may be said with any call. */
export interface CallOptions {
  /** The most time for the call with its retries, in seconds, above 0. Absent: the default of the RPC. */
  readonly timeoutSeconds?: number;
  /** Ends the call, and the provider's call with it; the call then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What this package says of its own calls besides. */
interface InternalOptions extends CallOptions {
  /** Absent: the client's. */
  readonly maxRetryCount?: number;
  /** Whether the call is nobody's in particular: whoever happened to cause it must not have it in their trace. */
  readonly untraced?: boolean;
}

/** A call with everything but the answer settled, to be made once or more. */
export interface Prepared {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly tries: Tries;
  readonly signal: AbortSignal | undefined;
  /** What goes with the next try. */
  metadata(): Metadata;
}

/** What `Calls` needs beside the connection. */
export interface CallsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly maxRetryCount: number;
  readonly inject: Inject | undefined;
}

interface Running {
  cancel(): void;
}

const asIs = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The calls of one client over one channel, which connects with the first of them. */
export class Calls {
  readonly #grpc: GrpcClient;
  readonly #connection: Connection;
  readonly #options: CallsOptions;
  /** What runs now: as many as the application has calls under way. */
  readonly #running = new Set<Running>();
  #closed = false;

  constructor(connection: Connection, options: CallsOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#grpc = new GrpcClient(connection.target, connection.credentials, connection.channelOptions);
  }

  /** Makes a unary call with the retries that the contract allows. */
  async unary<I extends DescMessage, O extends DescMessage>(
    rpc: Rpc<DescMethodUnary<I, O>>,
    request: MessageInitShape<I>,
    options: InternalOptions = {},
  ): Promise<MessageShape<O>> {
    const prepared = this.prepare(rpc, request, options);
    for (;;) {
      try {
        return await this.#once(prepared, rpc.method.output);
      } catch (error) {
        await this.waitAfter(error, prepared);
      }
    }
  }

  /** Settles everything about a call but its answer. @throws {@link UsageError} for what cannot be sent. */
  prepare<I extends DescMessage>(
    rpc: Rpc<DescMethod & { input: I }>,
    request: MessageInitShape<I>,
    options: InternalOptions,
  ): Prepared {
    const seconds = options.timeoutSeconds ?? rpc.timeoutSeconds;
    if (!(seconds > 0)) {
      throw new UsageError(`timeoutSeconds is ${seconds}: give a positive number of seconds, or leave it out`);
    }
    const { token } = this.#connection;
    const trace = traceMetadata(options.untraced ? undefined : this.#options.inject);
    let used = "";
    return {
      path: `/${rpc.method.parent.typeName}/${rpc.method.name}`,
      bytes: encode(rpc.method.input, request),
      tries: new Tries({
        retryClass: rpc.retryClass,
        deadline: this.#options.clock.monotonic() + seconds,
        maxRetryCount: options.maxRetryCount ?? this.#options.maxRetryCount,
        random: this.#options.random,
        renewed: () => token.renewed(used),
      }),
      signal: options.signal,
      metadata: () => {
        const metadata = new Metadata();
        for (const [key, value] of trace) metadata.set(key, value);
        used = token.text;
        if (used) metadata.set("authorization", `Bearer ${used}`);
        return metadata;
      },
    };
  }

  /** Waits until a failed call may be made again; throws its error where it may not. */
  async waitAfter(error: unknown, prepared: Prepared): Promise<void> {
    if (!(error instanceof TurnoutError)) throw error;
    const wait = prepared.tries.waitAfter(error, this.#options.clock.monotonic());
    if (wait === undefined) throw error;
    prepared.signal?.throwIfAborted();
    if (this.#closed) throw closedInMid(error);
    const waiting = new AbortController();
    const done = this.#track({ cancel: () => waiting.abort() }, prepared.signal);
    try {
      await sleep(wait, waiting.signal);
    } catch {
      prepared.signal?.throwIfAborted();
      throw closedInMid(error);
    } finally {
      done();
    }
  }

  /** Makes a streaming call once and yields its messages. Leaving the loop ends the call. */
  async *stream<O extends DescMessage>(
    method: DescMethodServerStreaming<DescMessage, O>,
    prepared: Prepared,
    context: () => StatusContext,
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    this.checkOpen(prepared.signal);
    const decode = decoder(method.output);
    const call = this.#grpc.makeServerStreamRequest(
      prepared.path,
      asIs,
      decode.read,
      prepared.bytes,
      prepared.metadata(),
      this.#deadline(prepared),
    );
    // Once nobody iterates any more, the error of a cancelled call has no listener, which would end the process.
    call.on("error", () => {});
    const done = this.#track(call, prepared.signal);
    try {
      yield* call as AsyncIterable<MessageShape<O>>;
    } catch (error) {
      throw this.#typed(error, prepared.signal, decode.error(), context());
    } finally {
      done();
      call.cancel();
    }
  }

  /** Ends what runs and closes the channel. Later calls are a {@link UsageError}. */
  close(): void {
    this.#closed = true;
    for (const call of this.#running) call.cancel();
    this.#running.clear();
    this.#grpc.close();
  }

  /** Throws the signal's reason where it is aborted. @throws {@link UsageError} once the client is closed. */
  checkOpen(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (this.#closed) throw new UsageError("the client is closed: make calls before close()");
  }

  /** Throws what ends a call in whose middle the client was closed. */
  checkRunning(): void {
    if (this.#closed) throw closedInMid(undefined);
  }

  #once<O extends DescMessage>(prepared: Prepared, output: O): Promise<MessageShape<O>> {
    this.checkOpen(prepared.signal);
    return new Promise((resolve, reject) => {
      const decode = decoder(output);
      const call = this.#grpc.makeUnaryRequest(
        prepared.path,
        asIs,
        decode.read,
        prepared.bytes,
        prepared.metadata(),
        this.#deadline(prepared),
        (error, response) => {
          done();
          if (error === null && response !== undefined) resolve(response);
          else reject(this.#typed(error, prepared.signal, decode.error(), {}));
        },
      );
      const done = this.#track(call, prepared.signal);
    });
  }

  #track(call: Running, signal: AbortSignal | undefined): () => void {
    const cancel = (): void => {
      call.cancel();
    };
    this.#running.add(call);
    const forget = onAbort(signal, cancel);
    return () => {
      this.#running.delete(call);
      forget();
    };
  }

  #deadline(prepared: Prepared): { deadline: number } {
    const seconds = prepared.tries.remainingSeconds(this.#options.clock.monotonic());
    return { deadline: seconds > MAX_DEADLINE_SECONDS ? Infinity : Date.now() + seconds * 1000 };
  }

  #typed(error: unknown, signal: AbortSignal | undefined, undecoded: unknown, context: StatusContext): unknown {
    if (signal?.aborted) return signal.reason;
    if (undecoded !== undefined) {
      return new ContractError(`an answer of the sidecar's cannot be read: ${String(undecoded)}`, { cause: undecoded });
    }
    if (!isServiceError(error)) return error;
    if (this.#closed) return closedInMid(error, context);
    return errorFromRpc(error, context);
  }
}

function closedInMid(cause: unknown, { partial }: StatusContext = {}): TransportError {
  return new TransportError("the client was closed while the call ran", { code: "CANCELLED", partial, cause });
}

function encode<I extends DescMessage>(input: I, request: MessageInitShape<I>): Uint8Array {
  return sendable(() => toBinary(input, create(input, request)));
}

function decoder<O extends DescMessage>(output: O): { read: (bytes: Buffer) => MessageShape<O>; error: () => unknown } {
  let failed: unknown;
  return {
    read: (bytes) => {
      try {
        return fromBinary(output, bytes);
      } catch (error) {
        failed = error;
        throw error;
      }
    },
    error: () => failed,
  };
}
