/** The complete answer to a call, the same type whether it came at once or as a stream. */

import { create } from "@bufbuild/protobuf";
import {
  type Attempt,
  type Decision,
  type ExecuteResponse,
  type FinishReason,
  type Message,
  MessageSchema,
  type Notices,
  type Part,
  Role,
  type Target,
  type ToolCall,
  type Usage,
} from "./gen/turnout/v1/router_pb.js";
import { ContractError } from "./errors.js";
import { targetName } from "./target.js";

/** A complete answer, the target that gave it, and what it took. */
export class Answer {
  /** All of it, as the contract has it. */
  readonly response: ExecuteResponse;

  constructor(response: ExecuteResponse) {
    this.response = response;
  }

  /** The content, part by part. */
  get parts(): readonly Part[] {
    return this.response.output?.parts ?? [];
  }

  /** All text of the answer, without thinking and tool calls. */
  get text(): string {
    return this.parts.map(({ content }) => (content.case === "text" ? content.value : "")).join("");
  }

  /** The model's thinking, as far as the provider shows it. */
  get reasoning(): string {
    return this.parts.map(({ content }) => (content.case === "reasoning" ? content.value.text : "")).join("");
  }

  /** The tools that the model wants called, in order. */
  get toolCalls(): readonly ToolCall[] {
    return this.parts.flatMap(({ content }) => (content.case === "toolCall" ? [content.value] : []));
  }

  /** The answer as a turn for the next request, with the opaque state that providers want back unchanged. */
  get message(): Message {
    return create(MessageSchema, { role: Role.ASSISTANT, parts: [...this.parts] });
  }

  /** Why it ended. */
  get finishReason(): FinishReason {
    return this.response.output?.finishReason ?? 0;
  }

  /** The target that gave it, as it is written: "provider/model". */
  get target(): string {
    return targetName(this.response.target);
  }

  /** The same as a message. */
  get targetMessage(): Target | undefined {
    return this.response.target;
  }

  /** Tokens of the answering attempt; undefined where unknown. */
  get usage(): Usage | undefined {
    return this.response.usage;
  }

  /** What the answering attempt cost in USD; undefined where unknown. */
  get costUsd(): number | undefined {
    return this.response.costUsd;
  }

  /** The decision behind it. @throws {@link ContractError} where the sidecar sent none. */
  get decision(): Decision {
    if (this.response.decision === undefined) throw new ContractError("the answer has no decision");
    return this.response.decision;
  }

  /** Every call to a provider that was made, in order. */
  get attempts(): readonly Attempt[] {
    return this.response.attempts;
  }

  /** Whether it came from the sidecar's response cache. */
  get cached(): boolean {
    return this.response.cached;
  }

  /** Whether it is the answer of an earlier call with the same request id, told and charged there already. */
  get joined(): boolean {
    return this.response.joined;
  }

  /** What the caller may want to know beside it. */
  get notices(): Notices | undefined {
    return this.response.notices;
  }
}
