import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { anyPack, type Any } from "@bufbuild/protobuf/wkt";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import * as errors from "@turnout/client";
import { CallFailureSchema, ErrorReason } from "@turnout/client/v1";
import { durationOf } from "#internal/duration.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "#internal/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "#internal/gen/google/rpc/status_pb.js";
import { errorFromRpc } from "#internal/status.js";

const DOMAIN = "turnout.dev";

function packed<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Any {
  return anyPack(schema, create(schema, init));
}

function rpcError(code: status, details: Any[] = [], trailing: Record<string, string> = {}): ServiceError {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(trailing)) metadata.set(key, value);
  if (details.length > 0) {
    metadata.set(
      "grpc-status-details-bin",
      Buffer.from(toBinary(StatusSchema, create(StatusSchema, { code, details }))),
    );
  }
  return Object.assign(new Error(`${code} it went wrong`), { code, details: "it went wrong", metadata });
}

function ofReason(code: status, reason: string, trailing: Record<string, string> = {}): errors.TurnoutError {
  return errorFromRpc(rpcError(code, [packed(ErrorInfoSchema, { domain: DOMAIN, reason })], trailing));
}

test("a lost connection is told without the note that grpc-js leaves empty", () => {
  const details = "No connection established. Last error: connect ECONNREFUSED 127.0.0.1:1. Resolution note: ";
  const told = errorFromRpc(Object.assign(rpcError(status.UNAVAILABLE), { details })).message;

  assert.match(told, /Last error: connect ECONNREFUSED 127\.0\.0\.1:1; is it running there\?$/);
});

test("every reason of the contract has a class of its own name or kind", () => {
  const reasons = Object.values(ErrorReason).filter((name): name is string => typeof name === "string");
  for (const reason of reasons.filter((name) => name !== "UNSPECIFIED")) {
    const error = ofReason(status.INTERNAL, reason);

    assert.notEqual(error.constructor, errors.TurnoutError, reason);
    assert.equal(error.constructor === errors.SidecarFaultError, reason === "BUG", reason);
    assert.equal(error.reason, reason);
    assert.equal(error.name, error.constructor.name);
  }
});

test("an error carries everything that the sidecar said", () => {
  const error = errorFromRpc(
    rpcError(
      status.UNAVAILABLE,
      [
        packed(ErrorInfoSchema, { domain: DOMAIN, reason: "ALL_ATTEMPTS_REFUSED", metadata: { policy: "p" } }),
        packed(RetryInfoSchema, { retryDelay: durationOf(1.5) }),
        packed(BadRequestSchema, { fieldViolations: [{ field: "options.x", description: "must be 1" }] }),
        packed(CallFailureSchema, {
          attempts: [{ attemptId: "1" }],
          rejections: [{ detail: "r" }],
          usage: { inputTokens: 3n },
          costUsd: 0.5,
          deliveredBytes: 7n,
        }),
      ],
      { "turnout-decision-id": "d1" },
    ),
  );

  assert.ok(error instanceof errors.AllAttemptsRefusedError);
  assert.equal(error.code, "UNAVAILABLE");
  assert.equal(error.message, "ALL_ATTEMPTS_REFUSED: it went wrong");
  assert.equal(error.decisionId, "d1");
  assert.deepEqual(error.metadata, { policy: "p" });
  assert.equal(error.retryAfterSeconds, 1.5);
  assert.equal(error.retryForbidden, false);
  assert.deepEqual(error.fieldViolations, [{ field: "options.x", description: "must be 1" }]);
  assert.equal(error.attempts[0]?.attemptId, "1");
  assert.equal(error.rejections[0]?.detail, "r");
  assert.equal(error.usage?.inputTokens, 3n);
  assert.equal(error.costUsd, 0.5);
  assert.equal(error.deliveredBytes, 7);
});

test("the longer of pushback and RetryInfo counts, and a negative or unreadable pushback forbids", () => {
  const delay = packed(RetryInfoSchema, { retryDelay: durationOf(1) });
  const info = packed(ErrorInfoSchema, { domain: DOMAIN, reason: "DRAINING" });
  const pushed = (value: string) =>
    errorFromRpc(rpcError(status.UNAVAILABLE, [info, delay], { "grpc-retry-pushback-ms": value }));

  assert.equal(pushed("2500").retryAfterSeconds, 2.5);
  assert.equal(pushed("100").retryAfterSeconds, 1);
  assert.equal(pushed("100").retryForbidden, false);
  for (const value of ["-1", "soon", "1e3"]) assert.equal(pushed(value).retryForbidden, true);
});

test("a drain at the door and one that cuts a call off are two errors", () => {
  assert.ok(ofReason(status.UNAVAILABLE, "DRAINING") instanceof errors.DrainingError);
  const cut = ofReason(status.UNAVAILABLE, "DRAINING", { "grpc-retry-pushback-ms": "-1" });
  assert.ok(cut instanceof errors.DrainCutError);
});

test("without a reason of its domain the sidecar did not speak", () => {
  const foreign = [packed(ErrorInfoSchema, { domain: "example.com", reason: "DRAINING" })];

  for (const details of [[], foreign]) {
    assert.ok(errorFromRpc(rpcError(status.UNAVAILABLE, details)) instanceof errors.UnreachableError);
    assert.ok(errorFromRpc(rpcError(status.DEADLINE_EXCEEDED, details)) instanceof errors.DeadlineError);
    for (const code of [status.INTERNAL, status.NOT_FOUND, status.UNIMPLEMENTED, status.CANCELLED]) {
      const error = errorFromRpc(rpcError(code, details));
      assert.ok(error instanceof errors.TransportError);
      assert.equal(error.reason, "");
    }
  }
});

test("a reason of a newer sidecar is told by its code", () => {
  assert.ok(ofReason(status.NOT_FOUND, "UNKNOWN_SHED") instanceof errors.NotFoundError);
  const odd = ofReason(status.ABORTED, "ODD");
  assert.equal(odd.constructor, errors.TurnoutError);
  assert.equal(odd.reason, "ODD");
  assert.equal(ofReason(status.UNAVAILABLE, "toString").reason, "toString");
});

test("details that cannot be read leave the code and the message", () => {
  const broken = rpcError(status.UNAVAILABLE);
  broken.metadata.set("grpc-status-details-bin", Buffer.from([0xff, 0xff, 0xff]));

  assert.ok(errorFromRpc(broken) instanceof errors.UnreachableError);
});

test("a stream's own last event goes before the summary in the trailer", () => {
  const summary = packed(CallFailureSchema, { deliveredBytes: 1n, truncated: true });
  const info = packed(ErrorInfoSchema, { domain: DOMAIN, reason: "STREAM_INTERRUPTED" });
  const error = errorFromRpc(rpcError(status.DATA_LOSS, [info, summary]), {
    callFailure: create(CallFailureSchema, { deliveredBytes: 99n }),
    partial: { text: "so far", parts: [] },
  });

  assert.ok(error instanceof errors.StreamInterruptedError);
  assert.equal(error.deliveredBytes, 99);
  assert.equal(error.partial?.text, "so far");
});

test("what is logged of an error holds none of the answer", async () => {
  const { inspect } = await import("node:util");
  const error = new errors.StreamInterruptedError("broke", { partial: { text: "a secret answer", parts: [] } });

  assert.doesNotMatch(inspect(error), /secret/);
});
