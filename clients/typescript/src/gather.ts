/** Gathers the events of a stream into one answer. Pure, and the only place that knows what `Restart` undoes. */

import { create } from "@bufbuild/protobuf";
import { ContractError } from "./errors.js";
import {
  type CallFailure,
  type Completion,
  type Decision,
  type Delta,
  type ExecuteResponse,
  ExecuteResponseSchema,
  type ExecuteStreamResponse,
  type Part,
  PartSchema,
  type Target,
} from "./gen/turnout/v1/router_pb.js";

/** What a stream that ends with OK but without its completion is. */
export const NOT_WHOLE = "the stream ended without its completion: what came is not a whole answer";

/** One part of the answer as it grows; its kind is that of its first piece of content. */
class PartGatherer {
  #kind: "text" | "toolCall" | "reasoning" | undefined;
  readonly #fragments: string[] = [];
  readonly #redacted: Uint8Array[] = [];
  #signature = "";
  #callId = "";
  #callName = "";

  /** Adds a piece. @throws {@link ContractError} where it is of another kind than the pieces before it. */
  add({ content, partIndex }: Delta): void {
    // A kind of a newer contract: receivers skip what they do not know.
    if (content.case === undefined) return;
    if (content.case === "signature") {
      this.#signature += content.value;
      return;
    }
    this.#kind ??= content.case;
    if (this.#kind !== content.case) {
      throw new ContractError(`part ${partIndex} of the answer began as ${this.#kind} and went on as ${content.case}`);
    }
    if (content.case === "text") {
      this.#fragments.push(content.value);
    } else if (content.case === "reasoning") {
      this.#fragments.push(content.value.text);
      this.#redacted.push(content.value.redactedData);
    } else {
      this.#callId ||= content.value.id;
      this.#callName ||= content.value.name;
      this.#fragments.push(content.value.argumentsFragment);
    }
  }

  /** The text so far, "" for a part that is not text. */
  get text(): string {
    return this.#kind === "text" ? this.#fragments.join("") : "";
  }

  /** Returns the part; opaque state is marked with the provider it must go back to. */
  part(provider: string): Part {
    const body = this.#fragments.join("");
    const redactedData = new Uint8Array(Buffer.concat(this.#redacted));
    return create(PartSchema, {
      // A signature alone is thinking that the provider does not show.
      content:
        this.#kind === "text"
          ? { case: "text", value: body }
          : this.#kind === "toolCall"
            ? { case: "toolCall", value: { id: this.#callId, name: this.#callName, argumentsJson: body } }
            : { case: "reasoning", value: { text: body, redactedData } },
      signature: this.#signature,
      originProvider: this.#signature || redactedData.length > 0 ? provider : "",
    });
  }
}

/**
 * The state of one stream: what was decided, what has come, whether it is complete.
 *
 * Feed it every event in order with `add`; ask `response` when the stream has ended with OK.
 */
export class Gatherer {
  decision: Decision | undefined;
  target: Target | undefined;
  failure: CallFailure | undefined;
  completion: Completion | undefined;
  /** Whether any content was delivered, even if it was discarded since: then a stream is never made again. */
  hasContent = false;
  #attemptId = "";
  /** By attempt id; a call has only a few attempts. */
  readonly #targets = new Map<string, Target>();
  readonly #discarded = new Set<string>();
  readonly #parts = new Map<number, PartGatherer>();

  /** The text so far of the attempt that counts. */
  get text(): string {
    return this.#inOrder()
      .map((part) => part.text)
      .join("");
  }

  /** The parts so far of the attempt that counts. */
  get parts(): Part[] {
    return this.#partsFor(this.target?.provider ?? "");
  }

  /**
   * Takes one event; returns false for one that the caller should not see, a late piece of a discarded attempt.
   *
   * @throws {@link ContractError} for content that mixes attempts or kinds, or comes after the end.
   */
  add({ event }: ExecuteStreamResponse): boolean {
    if (this.completion !== undefined) throw new ContractError("the stream went on after its completion");
    switch (event.case) {
      case "decision":
        this.decision = event.value;
        return true;
      case "attempt":
        if (event.value.target !== undefined) {
          this.#targets.set(event.value.attemptId, event.value.target);
          // Beside another one: which of the two answers is told by the first piece.
          if (!event.value.hedge) this.target = event.value.target;
        }
        return true;
      case "delta":
        return this.#addDelta(event.value);
      case "restart":
        this.#restart(event.value.discardedAttemptId);
        return true;
      case "completion":
        this.completion = event.value;
        return true;
      case "failure":
        this.failure = event.value;
        return true;
      default:
        return true;
    }
  }

  /** Returns the answer. @throws {@link ContractError} where the stream ended without its completion. */
  response(): ExecuteResponse {
    const completion = this.completion;
    if (completion === undefined) throw new ContractError(NOT_WHOLE);
    const response = create(ExecuteResponseSchema, {
      output: {
        parts: this.#partsFor(completion.target?.provider ?? ""),
        finishReason: completion.finishReason,
        model: completion.model,
        responseId: completion.responseId,
      },
      attempts: completion.attempts,
      cached: completion.cached,
      joined: completion.joined,
    });
    if (completion.target !== undefined) response.target = completion.target;
    if (completion.usage !== undefined) response.usage = completion.usage;
    if (completion.costUsd !== undefined) response.costUsd = completion.costUsd;
    if (completion.notices !== undefined) response.notices = completion.notices;
    if (this.decision !== undefined) response.decision = this.decision;
    return response;
  }

  #addDelta(delta: Delta): boolean {
    if (this.#discarded.has(delta.attemptId)) return false;
    if (this.#parts.size > 0 && delta.attemptId !== this.#attemptId) {
      throw new ContractError("pieces of two attempts came without a restart between them");
    }
    if (delta.attemptId !== this.#attemptId) {
      this.#attemptId = delta.attemptId;
      this.target = this.#targets.get(delta.attemptId) ?? this.target;
    }
    this.hasContent = true;
    let part = this.#parts.get(delta.partIndex);
    if (part === undefined) {
      part = new PartGatherer();
      this.#parts.set(delta.partIndex, part);
    }
    part.add(delta);
    return true;
  }

  #restart(discardedAttemptId: string): void {
    this.#discarded.add(discardedAttemptId);
    if (discardedAttemptId === this.#attemptId) {
      this.#parts.clear();
      this.#attemptId = "";
    }
  }

  #inOrder(): PartGatherer[] {
    return [...this.#parts].sort(([one], [other]) => one - other).map(([, part]) => part);
  }

  #partsFor(provider: string): Part[] {
    return this.#inOrder().map((part) => part.part(provider));
  }
}
