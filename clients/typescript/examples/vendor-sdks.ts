/**
 * Calls the providers with their official SDKs, where Turnout says which one, and tells it how that went.
 *
 *     OPENAI_API_KEY=… ANTHROPIC_API_KEY=… node .build/examples/vendor-sdks.js PROMPT
 *
 * No prompt goes through the sidecar. The SDKs' own retries are off: they would hide from it what fails, and delay the
 * turn to another target. Exit codes: 0 an answer, 1 no answer, 2 wrong usage.
 */

import { pathToFileURL } from "node:url";
import Anthropic from "@anthropic-ai/sdk";
import { Client, type PlanResult, type PlanTarget, UsageError } from "@turnout/client";
import { FailureKind } from "@turnout/client/v1";
import OpenAI from "openai";

const MAX_OUTPUT_TOKENS = 1000;

/** The application's own keys, by wire format. */
export interface Keys {
  readonly openai: string;
  readonly anthropic: string;
}

/** What is asked, and where the text goes while it comes. */
export interface Question {
  readonly prompt: string;
  readonly keys: Keys;
  readonly onText?: (piece: string) => void;
  readonly signal?: AbortSignal;
}

/** The plan offers a target for which there is no SDK here; that comes out at once. */
export class UnknownWireError extends Error {}

/** Asks the targets of a plan in turn until one has answered; returns its answer. */
export async function ask(client: Client, question: Question): Promise<PlanResult<string>> {
  return client.plan(
    { profile: { task: "chat", textHint: question.prompt, maxOutputTokens: BigInt(MAX_OUTPUT_TOKENS) } },
    (target, signal) => {
      if (target.wire === "openai") return askOpenAI(target, question, signal);
      if (target.wire === "anthropic") return askAnthropic(target, question, signal);
      // No failure of the target's: reporting one would take it from those who can call it.
      throw new UnknownWireError(
        `${target.name} speaks ${target.wire}, and this program has no SDK for that: leave it out with options.exclude`,
      );
    },
    question.signal === undefined ? {} : { signal: question.signal },
  );
}

async function askOpenAI(target: PlanTarget, { prompt, keys, onText }: Question, signal: AbortSignal): Promise<string> {
  const sdk = new OpenAI({ apiKey: keys.openai, baseURL: target.baseUrl, maxRetries: 0 });
  const stream = await sdk.chat.completions.create(
    {
      model: target.model,
      messages: [{ role: "user", content: prompt }],
      max_completion_tokens: MAX_OUTPUT_TOKENS,
      stream: true,
      stream_options: { include_usage: true },
    },
    { signal, ...timeoutOf(target) },
  );
  let text = "";
  let ended = false;
  for await (const { choices, usage } of stream) {
    const piece = choices[0]?.delta.content ?? "";
    if (piece) {
      target.firstToken();
      text += piece;
      onText?.(piece);
    }
    ended ||= Boolean(choices[0]?.finish_reason);
    if (usage) {
      target.usage({
        inputTokens: usage.prompt_tokens,
        outputTokens: usage.completion_tokens,
        cachedInputTokens: usage.prompt_tokens_details?.cached_tokens,
        reasoningTokens: usage.completion_tokens_details?.reasoning_tokens,
      });
    }
  }
  // The SDK ends its loop quietly where the connection ended before the answer did.
  if (!ended) target.failed(FailureKind.TRUNCATED);
  return text;
}

async function askAnthropic(
  target: PlanTarget,
  { prompt, keys, onText }: Question,
  signal: AbortSignal,
): Promise<string> {
  // This SDK adds the version to the address itself.
  const baseURL = target.baseUrl.replace(/\/v1\/?$/, "");
  const sdk = new Anthropic({ apiKey: keys.anthropic, baseURL, maxRetries: 0 });
  const stream = sdk.messages.stream(
    { model: target.model, max_tokens: MAX_OUTPUT_TOKENS, messages: [{ role: "user", content: prompt }] },
    { signal, ...timeoutOf(target) },
  );
  stream.on("text", (piece) => {
    target.firstToken();
    onText?.(piece);
  });
  const { content, usage } = await stream.finalMessage();
  const cached = usage.cache_read_input_tokens ?? 0;
  const written = usage.cache_creation_input_tokens ?? 0;
  target.usage({
    // Anthropic counts what was read from the cache or written to it apart.
    inputTokens: usage.input_tokens + cached + written,
    outputTokens: usage.output_tokens,
    cachedInputTokens: cached,
    cacheWriteTokens: written,
  });
  return content.map((block) => (block.type === "text" ? block.text : "")).join("");
}

/** How long to wait for the provider to begin to answer, in the SDKs' milliseconds. */
function timeoutOf({ timeoutSeconds }: PlanTarget): { timeout?: number } {
  return timeoutSeconds === undefined ? {} : { timeout: Math.ceil(timeoutSeconds * 1000) };
}

async function main(words: string[]): Promise<number> {
  const prompt = words.join(" ");
  if (!prompt) {
    process.stderr.write("usage: vendor-sdks PROMPT\n");
    return 2;
  }
  let client: Client | undefined;
  try {
    client = new Client();
    const keys = { openai: process.env["OPENAI_API_KEY"] ?? "", anthropic: process.env["ANTHROPIC_API_KEY"] ?? "" };
    const { target } = await ask(client, { prompt, keys, onText: (piece) => process.stdout.write(piece) });
    process.stdout.write("\n");
    process.stderr.write(`answered by ${target.name}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`vendor-sdks: ${(error as Error).message}\n`);
    return error instanceof UsageError ? 2 : 1;
  } finally {
    await client?.close();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) process.exitCode = await main(process.argv.slice(2));
