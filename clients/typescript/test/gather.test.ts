import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Answer, ContractError } from "@turnout/client";
import { type DeltaSchema, ExecuteStreamResponseSchema, FinishReason, Role } from "@turnout/client/v1";
import { Gatherer } from "#internal/gather.js";

type Event = MessageInitShape<typeof ExecuteStreamResponseSchema>["event"];
type Content = MessageInitShape<typeof DeltaSchema>["content"];

const NORTH = { provider: "north", model: "m" };
const SOUTH = { provider: "south", model: "m" };

const delta = (attemptId: string, content: Content, partIndex = 0): Event => ({
  case: "delta",
  value: { attemptId, partIndex, ...(content === undefined ? {} : { content }) },
});
const text = (attemptId: string, value: string, partIndex = 0): Event =>
  delta(attemptId, { case: "text", value }, partIndex);
const attempt = (attemptId: string, target: object, hedge = false): Event => ({
  case: "attempt",
  value: { attemptId, target, hedge },
});
const restart = (discardedAttemptId: string): Event => ({ case: "restart", value: { discardedAttemptId } });
const completion = (target: object = NORTH): Event => ({
  case: "completion",
  value: { target, finishReason: FinishReason.STOP, costUsd: 0.25, usage: { outputTokens: 3n }, model: "m-1" },
});

function gathered(...events: Event[]): { gatherer: Gatherer; seen: boolean[] } {
  const gatherer = new Gatherer();
  const seen = events.map((event) =>
    gatherer.add(create(ExecuteStreamResponseSchema, event === undefined ? {} : { event })),
  );
  return { gatherer, seen };
}

test("pieces become the answer's parts, in the order of their places", () => {
  const { gatherer } = gathered(
    { case: "decision", value: { decisionId: "d" } },
    attempt("1", NORTH),
    text("1", "world", 1),
    delta("1", { case: "reasoning", value: { text: "hm" } }),
    delta("1", { case: "reasoning", value: { text: "m", redactedData: new Uint8Array([1]) } }),
    delta("1", { case: "signature", value: "sig" }),
    delta("1", { case: "toolCall", value: { id: "c", name: "look", argumentsFragment: '{"a"' } }, 2),
    delta("1", { case: "toolCall", value: { argumentsFragment: ":1}" } }, 2),
    completion(),
  );
  const answer = new Answer(gatherer.response());

  assert.equal(answer.text, "world");
  assert.equal(answer.reasoning, "hmm");
  assert.deepEqual(
    answer.toolCalls.map(({ id, name, argumentsJson }) => ({ id, name, argumentsJson })),
    [{ id: "c", name: "look", argumentsJson: '{"a":1}' }],
  );
  assert.deepEqual(
    answer.parts.map(({ originProvider, signature }) => [originProvider, signature]),
    [
      ["north", "sig"],
      ["", ""],
      ["", ""],
    ],
  );
  assert.equal(answer.decision.decisionId, "d");
  assert.equal(answer.target, "north/m");
  assert.equal(answer.costUsd, 0.25);
  assert.equal(answer.usage?.outputTokens, 3n);
  assert.equal(answer.message.role, Role.ASSISTANT);
  assert.equal(answer.message.parts.length, 3);
});

test("a restart voids the pieces of the discarded attempt, and late ones are not seen", () => {
  const { gatherer, seen } = gathered(
    attempt("1", NORTH),
    text("1", "wrong"),
    restart("1"),
    text("1", " late"),
    attempt("2", SOUTH),
    text("2", "right"),
    completion(SOUTH),
  );

  assert.deepEqual(seen, [true, true, true, false, true, true, true]);
  assert.equal(gatherer.text, "right");
  assert.equal(new Answer(gatherer.response()).text, "right");
  assert.equal(gatherer.hasContent, true);
});

test("of a hedged pair the first piece tells which one answers", () => {
  const { gatherer } = gathered(attempt("1", NORTH), attempt("2", SOUTH, true));
  assert.equal(gatherer.target?.provider, "north");
  gatherer.add(create(ExecuteStreamResponseSchema, { event: text("2", "x") as never }));

  assert.equal(gatherer.target?.provider, "south");
});

test("what the contract does not allow is no answer", () => {
  assert.throws(() => gathered(text("1", "x")).gatherer.response(), ContractError);
  assert.throws(() => gathered(completion(), text("1", "x")), ContractError);
  assert.throws(() => gathered(text("1", "x"), text("2", "y")), ContractError);
  assert.throws(() => gathered(text("1", "x"), delta("1", { case: "reasoning", value: { text: "y" } })), ContractError);
});

test("kinds of a newer contract are skipped", () => {
  const { gatherer } = gathered(undefined, text("1", "x"), delta("1", undefined), completion());

  assert.equal(new Answer(gatherer.response()).text, "x");
});

test("a signature alone is thinking that the provider does not show", () => {
  const { gatherer } = gathered(attempt("1", NORTH), delta("1", { case: "signature", value: "s" }), completion());

  assert.equal(gatherer.parts[0]?.content.case, "reasoning");
  assert.equal(gatherer.parts[0]?.originProvider, "north");
});
