/**
 * Streams an answer to the terminal.
 *
 *     node .build/examples/stream.js [--restart] PROMPT
 *
 * With --restart a stream that breaks begins again on another target, and what was shown is taken back. Ctrl-C ends the
 * provider's call, too. The target, its tokens and its price go to stderr. Exit codes: 0 a whole answer, 1 the call
 * failed, 2 wrong usage, 3 the sidecar cannot be reached, 130 stopped at the keyboard, or nobody reads any more. The
 * sidecar is found as every client finds it: TURNOUT_ADDRESS, else 127.0.0.1:50151.
 */

import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chat, Client, TurnoutError, UnreachableError, UsageError } from "@turnout/client";
import { FinishReason, MidStreamPolicy } from "@turnout/client/v1";
import { Screen } from "./screen.js";

const USAGE = "usage: stream [--restart] PROMPT";

async function show(client: Client, prompt: string, restart: boolean, signal: AbortSignal): Promise<void> {
  const screen = new Screen(process.stdout);
  const stream = client.stream(
    {
      profile: { task: "chat" },
      options: { midStream: restart ? MidStreamPolicy.RESTART : MidStreamPolicy.FAIL },
      input: chat(prompt),
    },
    { signal },
  );
  try {
    const onRestart = (): void => screen.takeBack("the answer was cut off and begins again");
    for await (const piece of stream.text({ onRestart })) screen.write(piece);
  } finally {
    screen.end();
  }
  const answer = await stream.answer();
  const tokens = answer.usage?.outputTokens ?? "an unknown number of";
  const cost = answer.costUsd === undefined ? "unknown cost" : `${answer.costUsd.toFixed(6)} USD`;
  process.stderr.write(`${answer.target}: ${tokens} tokens, ${cost}\n`);
  if (answer.finishReason === FinishReason.LENGTH) process.stderr.write("the answer reached its limit of tokens\n");
}

async function main(words: string[]): Promise<number> {
  let prompt: string;
  let restart: boolean;
  try {
    const { values, positionals } = parseArgs({
      args: words,
      options: { restart: { type: "boolean", default: false } },
      allowPositionals: true,
    });
    prompt = positionals.join(" ");
    restart = values.restart;
    if (!prompt) throw new TypeError("a prompt is missing");
  } catch (error) {
    process.stderr.write(`stream: ${(error as Error).message}\n${USAGE}\n`);
    return 2;
  }
  const stopping = new AbortController();
  const stop = (): void => stopping.abort();
  // A second Ctrl-C ends the process as usual.
  process.once("SIGINT", stop);
  // Whoever read this has gone, as with `| head`.
  process.stdout.on("error", stop);
  let client: Client | undefined;
  try {
    client = new Client();
    await show(client, prompt, restart, stopping.signal);
    return 0;
  } catch (error) {
    if (stopping.signal.aborted) return 130;
    if (!(error instanceof TurnoutError)) throw error;
    process.stderr.write(`stream: ${error.message}\n`);
    if (error instanceof UsageError) return 2;
    return error instanceof UnreachableError ? 3 : 1;
  } finally {
    process.removeListener("SIGINT", stop);
    await client?.close();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) process.exitCode = await main(process.argv.slice(2));
