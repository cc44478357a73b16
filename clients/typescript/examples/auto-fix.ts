/**
 * Fixes code: takes a file with its issues, has a model propose patches, and passes on only those that fit the file.
 *
 *     node .build/examples/auto-fix.js <<'EOF'
 *     {"file": "a.ts", "code": "let x = 1\n", "issues": [{"line": 1, "message": "unused"}], "risk_level": "low"}
 *     EOF
 *
 * The request comes as JSON from stdin, the answer goes to stdout as {"patches": […], "target": …, "cost_usd": …}. What
 * is risky goes to the best model, what is not to the cheapest. Exit codes: 0 patches, 1 failure, 2 wrong input. The
 * sidecar is found as every client finds it: TURNOUT_ADDRESS, else 127.0.0.1:50151.
 */

import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";
import { chat, Client, TurnoutError, UsageError } from "@turnout/client";
import { FinishReason, Strategy } from "@turnout/client/v1";

const MAX_OUTPUT_TOKENS = 4000;
const TIMEOUT_SECONDS = 120;

/** By risk level; for a medium one the policy decides. */
const STRATEGIES: Readonly<Record<string, Strategy>> = {
  low: Strategy.COST,
  medium: Strategy.UNSPECIFIED,
  high: Strategy.QUALITY,
};

const INSTRUCTIONS = `You repair code. You get a file with numbered lines and the issues found in it.
Propose the smallest patches that mend the issues and change nothing else. A patch replaces the lines line_start to
line_end, both included and counted from 1, by the replacement, which ends without a line break; an empty replacement
deletes them. Patches must not overlap. Say in one sentence why each is right.`;

const SCHEMA = {
  type: "object",
  properties: {
    patches: {
      type: "array",
      items: {
        type: "object",
        properties: {
          line_start: { type: "integer", minimum: 1 },
          line_end: { type: "integer", minimum: 1 },
          replacement: { type: "string" },
          reason: { type: "string" },
        },
        required: ["line_start", "line_end", "replacement", "reason"],
        additionalProperties: false,
      },
    },
  },
  required: ["patches"],
  additionalProperties: false,
};

/** The request is not what it must be; the text names the field and what would be right. */
export class WrongInputError extends Error {}

/** What the model proposed cannot be applied to the file. */
export class UnfitPatchError extends Error {}

/** A file to be repaired; `line` counts from 1. */
export interface Job {
  readonly file: string;
  readonly code: string;
  readonly issues: readonly { readonly line: number; readonly message: string }[];
  readonly risk_level: string;
}

/** Replaces the lines from `line_start` to `line_end`, both included and counted from 1. */
export interface Patch {
  readonly line_start: number;
  readonly line_end: number;
  readonly replacement: string;
  readonly reason: string;
}

/** Patches that fit the file, who proposed them, and what that cost; null where that is not known. */
export interface Fix {
  readonly patches: readonly Patch[];
  readonly target: string;
  readonly cost_usd: number | null;
}

/** Reads a request. @throws {@link WrongInputError} */
export function readJob(request: string): Job {
  let given: unknown;
  try {
    given = JSON.parse(request);
  } catch (error) {
    throw new WrongInputError(`the request is not JSON: ${(error as Error).message}`);
  }
  const file = stringOf(given, "file");
  const code = stringOf(given, "code");
  const riskLevel = stringOf(given, "risk_level");
  if (!Object.hasOwn(STRATEGIES, riskLevel)) {
    throw new WrongInputError(
      `risk_level is ${JSON.stringify(riskLevel)}: give one of ${Object.keys(STRATEGIES).join(", ")}`,
    );
  }
  const lineCount = linesOf(code).length;
  const issues = listOf(given, "issues").map((issue, place) => {
    const where = `issues[${place}].`;
    const line = wholeNumberOf(issue, "line", where);
    if (line < 1 || line > lineCount) {
      throw new WrongInputError(`${where}line is ${line}: the code has the lines 1 to ${lineCount}`);
    }
    return { line, message: stringOf(issue, "message", where) };
  });
  if (issues.length === 0) throw new WrongInputError("issues is empty: give at least one");
  return { file, code, issues, risk_level: riskLevel };
}

/** Reads a model's answer for a file of so many lines, in the order of the lines. @throws {@link UnfitPatchError} */
export function readPatches(answer: string, lineCount: number): Patch[] {
  let patches: Patch[];
  try {
    patches = listOf(JSON.parse(answer), "patches").map((patch) => ({
      line_start: wholeNumberOf(patch, "line_start"),
      line_end: wholeNumberOf(patch, "line_end"),
      replacement: stringOf(patch, "replacement"),
      reason: stringOf(patch, "reason"),
    }));
  } catch (error) {
    throw new UnfitPatchError(`the answer is not a list of patches: ${(error as Error).message}`);
  }
  patches.sort((one, other) => one.line_start - other.line_start);
  let last = 0;
  for (const patch of patches) {
    const where = `the patch of lines ${patch.line_start} to ${patch.line_end}`;
    if (patch.line_start < 1 || patch.line_start > patch.line_end || patch.line_end > lineCount) {
      throw new UnfitPatchError(`${where} does not fit the file, which has the lines 1 to ${lineCount}`);
    }
    if (patch.line_start <= last) throw new UnfitPatchError(`${where} overlaps the one before it`);
    last = patch.line_end;
  }
  return patches;
}

/** Returns the lines with their endings, as an editor counts them. */
export function linesOf(code: string): string[] {
  return code.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/** Returns the code with the patches applied, which are in the order of the lines; line endings are kept. */
export function apply(code: string, patches: readonly Patch[]): string {
  const lines = linesOf(code);
  for (const { line_start, line_end, replacement } of [...patches].reverse()) {
    const ending = /[\r\n]*$/.exec(lines[line_end - 1]!)![0];
    const fresh = linesOf(replacement).map((line) => line.replace(/[\r\n]+$/, "") + (ending || "\n"));
    if (fresh.length > 0) fresh[fresh.length - 1] = fresh.at(-1)!.replace(/[\r\n]+$/, "") + ending;
    lines.splice(line_start - 1, line_end - line_start + 1, ...fresh);
  }
  return lines.join("");
}

/**
 * Has a model propose patches that fit the file.
 *
 * @throws `TurnoutError` where no model answers, {@link UnfitPatchError} where its answer is of no use.
 */
export async function fix(client: Client, job: Job): Promise<Fix> {
  const numbered = linesOf(job.code).map((line, place) => `${String(place + 1).padStart(5)} ${line.trimEnd()}`);
  const issues = job.issues.map(({ line, message }) => `line ${line}: ${message}`);
  const answer = await client.execute(
    {
      profile: { task: "auto_fix" },
      options: { strategy: STRATEGIES[job.risk_level] ?? Strategy.UNSPECIFIED },
      input: chat(
        [
          ["system", INSTRUCTIONS],
          ["user", `File ${job.file}:\n${numbered.join("\n")}\n\nIssues:\n${issues.join("\n")}`],
        ],
        {
          maxOutputTokens: MAX_OUTPUT_TOKENS,
          responseFormat: {
            format: { case: "jsonSchema", value: { name: "patches", schemaJson: JSON.stringify(SCHEMA) } },
          },
        },
      ),
    },
    { timeoutSeconds: TIMEOUT_SECONDS },
  );
  if (answer.finishReason !== FinishReason.STOP) {
    // A reason of a newer contract has no name here.
    const ended: string = FinishReason[answer.finishReason] ?? String(answer.finishReason);
    throw new UnfitPatchError(`the answer is not whole: it ended with ${ended}`);
  }
  const patches = readPatches(answer.text, linesOf(job.code).length);
  if (apply(job.code, patches) === job.code) throw new UnfitPatchError("the patches change nothing");
  return { patches, target: answer.target, cost_usd: answer.costUsd ?? null };
}

function fieldOf(given: unknown, name: string): unknown {
  return typeof given === "object" && given !== null ? (given as Record<string, unknown>)[name] : undefined;
}

function stringOf(given: unknown, name: string, where = ""): string {
  const value = fieldOf(given, name);
  if (typeof value !== "string") throw new WrongInputError(`${where}${name} is missing or not a string`);
  return value;
}

function wholeNumberOf(given: unknown, name: string, where = ""): number {
  const value = fieldOf(given, name);
  if (typeof value !== "number" || !Number.isInteger(value)) {
    throw new WrongInputError(`${where}${name} is missing or not a whole number`);
  }
  return value;
}

function listOf(given: unknown, name: string): unknown[] {
  const value = fieldOf(given, name);
  if (!Array.isArray(value)) throw new WrongInputError(`${name} is missing or not a list`);
  return value as unknown[];
}

async function main(): Promise<number> {
  let client: Client | undefined;
  try {
    const job = readJob(await text(process.stdin));
    client = new Client();
    process.stdout.write(`${JSON.stringify(await fix(client, job))}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof WrongInputError || error instanceof UnfitPatchError || error instanceof TurnoutError))
      throw error;
    process.stderr.write(`auto-fix: ${error.message}\n`);
    return error instanceof WrongInputError || error instanceof UsageError ? 2 : 1;
  } finally {
    await client?.close();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) process.exitCode = await main();
