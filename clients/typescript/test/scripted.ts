/** A sidecar that does what a test says, over a real socket: for what a real one never does. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { RouterService } from "@turnout/client/v1";
import { ErrorInfoSchema } from "#internal/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "#internal/gen/google/rpc/status_pb.js";

/** How a call ends other than well. */
export interface Refusal {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

/** Returns an error answer; without a reason it is as a proxy's. */
export function refusal(code: status, reason = "", trailing: Record<string, string> = {}): Refusal {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(trailing)) metadata.set(key, value);
  if (reason) {
    const info = anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { domain: "turnout.dev", reason }));
    metadata.set(
      "grpc-status-details-bin",
      Buffer.from(toBinary(StatusSchema, create(StatusSchema, { details: [info] }))),
    );
  }
  return { code, details: reason || "no words", metadata };
}

/** What a unary method does with its nth call. */
export type Unary = (request: any, metadata: Metadata, count: number) => object | Refusal | Promise<object | Refusal>;
/** What a streaming method does with its nth call. */
export type Streaming = (
  call: { write: (message: object) => void; end: (refusal?: Refusal) => void; cancelled: Promise<void> },
  count: number,
  metadata: Metadata,
) => void;

/** What each method does, by its name in the language. */
export type Methods = { readonly [N in "route" | "execute" | "reportOutcome" | "providerStatus"]?: Unary } & {
  readonly [N in "executeStream" | "watchProviderStatus"]?: Streaming;
};

/** A running scripted sidecar. */
export interface Scripted {
  readonly address: string;
  readonly counts: Record<string, number>;
  close(): void;
}

/** Serves the given methods; all others are UNIMPLEMENTED. */
export async function scripted(methods: Methods): Promise<Scripted> {
  const server = new Server();
  const counts: Record<string, number> = {};
  for (const [name, script] of Object.entries(methods) as [keyof Methods, Unary | Streaming][]) {
    const method = RouterService.method[name];
    const path = `/${RouterService.typeName}/${method.name}`;
    const streams = method.methodKind === "server_streaming";
    const counted = (): number => (counts[name] = (counts[name] ?? 0) + 1);
    const unary = async (call: ServerUnaryCall<never, object>, done: sendUnaryData<object>): Promise<void> => {
      const made = await (script as Unary)(call.request, call.metadata, counted());
      if ("code" in made) done(made as Refusal);
      else done(null, made);
    };
    const stream = (call: ServerWritableStream<never, object>): void => {
      const cancelled = new Promise<void>((resolve) => call.once("cancelled", () => resolve()));
      (script as Streaming)(
        {
          write: (message) => call.write(message),
          end: (refused) => (refused === undefined ? call.end() : call.emit("error", refused)),
          cancelled,
        },
        counted(),
        call.metadata,
      );
    };
    server.addService(
      {
        [name]: {
          path,
          requestStream: false,
          responseStream: streams,
          requestSerialize: (bytes: Buffer) => bytes,
          requestDeserialize: (bytes: Buffer) => fromBinary(method.input, bytes),
          responseSerialize: (message: object) =>
            message instanceof Uint8Array
              ? Buffer.from(message)
              : Buffer.from(toBinary(method.output, create(method.output, message as never))),
          responseDeserialize: (bytes: Buffer) => bytes,
        },
      },
      { [name]: streams ? stream : unary } as never,
    );
  }
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return { address: `127.0.0.1:${port}`, counts, close: () => server.forceShutdown() };
}
