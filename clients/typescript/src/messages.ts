/** Builds the contract's chat requests from what is handy: a prompt, or turns as [role, content] pairs. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { UsageError } from "./errors.js";
import {
  type ChatInput,
  ChatInputSchema,
  type Message,
  MessageSchema,
  type PartSchema,
  Role,
} from "./gen/turnout/v1/router_pb.js";

/** Who speaks. */
export type RoleName = "system" | "user" | "assistant" | "tool";

/** One piece of a turn: text, or any part of the contract. */
export type Piece = string | MessageInitShape<typeof PartSchema>;

/** One turn: who speaks, and what. An answer's own `message` may stand here as it is. */
export type Turn = Message | readonly [RoleName, Piece | readonly Piece[]];

/** Everything of a chat request but its turns. */
export type ChatOptions = Omit<Exclude<MessageInitShape<typeof ChatInputSchema>, ChatInput>, "messages">;

const ROLES: Readonly<Record<RoleName, Role>> = {
  system: Role.SYSTEM,
  user: Role.USER,
  assistant: Role.ASSISTANT,
  tool: Role.TOOL,
};

/**
 * Returns a chat request: `chat("Hello")`, or `chat([["system", "Be brief."], ["user", "Hello"]], { temperature: 0 })`.
 *
 * @throws {@link UsageError} for an unknown role.
 */
export function chat(turns: string | readonly Turn[], options: ChatOptions = {}): ChatInput {
  const given = typeof turns === "string" ? ([["user", turns]] as const) : turns;
  return create(ChatInputSchema, { ...options, messages: given.map(message) });
}

function message(turn: Turn): Message {
  if ("$typeName" in turn) return turn;
  const [role, content] = turn;
  if (!Object.hasOwn(ROLES, role)) {
    throw new UsageError(
      `${JSON.stringify(role)} is not a role of a message: give one of ${Object.keys(ROLES).join(", ")}`,
    );
  }
  const pieces = Array.isArray(content) ? (content as readonly Piece[]) : [content as Piece];
  return create(MessageSchema, {
    role: ROLES[role],
    parts: pieces.map((piece) =>
      typeof piece === "string" ? { content: { case: "text" as const, value: piece } } : piece,
    ),
  });
}
