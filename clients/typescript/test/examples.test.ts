import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { Client, PlanExhaustedError, TurnoutError } from "@turnout/client";
import { FailureKind, FinishReason, Strategy } from "@turnout/client/v1";
import { apply, fix, linesOf, readJob, readPatches, UnfitPatchError, WrongInputError } from "../examples/auto-fix.js";
import { Screen } from "../examples/screen.js";
import { ask } from "../examples/vendor-sdks.js";
import { scripted } from "./scripted.js";
import { reset, until, type World, withoutSidecar, world } from "./world.js";

const KEYS = { openai: "k", anthropic: "k" };
const JOB = {
  file: "a.ts",
  code: "let x = 1;\nlet y = 2;\nlet z = 3;\n",
  issues: [{ line: 1, message: "x is never changed" }],
  risk_level: "low",
};

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

type Running = ChildProcessByStdio<Writable, Readable, Readable>;

function start(name: string, address: string, ...words: string[]): Running {
  const script = fileURLToPath(new URL(`../examples/${name}.js`, import.meta.url));
  const environment = { PATH: process.env["PATH"], TURNOUT_ADDRESS: address };
  return spawn(process.execPath, [script, ...words], { env: environment, stdio: ["pipe", "pipe", "pipe"] });
}

async function ended(child: Running, input = ""): Promise<Ended> {
  child.stdin.end(input);
  const exit = new Promise<number | null>((resolve) => child.once("close", resolve));
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), exit]);
  return { code, out, err };
}

const run = (name: string, address: string, ...words: string[]): Promise<Ended> =>
  ended(start(name, address, ...words));

describe("examples with a real sidecar", { skip: withoutSidecar }, () => {
  let running: World;
  let client: Client;

  before(async () => {
    running = await world();
  });

  beforeEach(async () => {
    // A new one each time: a kept plan would remember what an earlier test did to the targets.
    client = new Client({ address: running.address });
    for (const provider of ["north", "south"]) {
      await running.set(provider, { fault: null, latency: { first_token_seconds: 0, seconds_per_output_token: 0 } });
    }
    await reset(running);
    // Connected: what follows has the client's own short deadlines.
    await client.route({}, { timeoutSeconds: 60 });
  });

  afterEach(() => client.close());

  after(() => running.close());

  test("stream: the answer goes to stdout, who gave it and what it cost to stderr", async () => {
    const { code, out, err } = await run("stream", running.address, "Tell me", "of trains.");

    assert.equal(code, 0, err);
    assert.match(out, /^\S.+\n$/);
    assert.match(err, /^north\/m: [0-9]+ tokens, 0\.[0-9]{6} USD\n$/);
  });

  test("stream: what was shown of a broken answer is taken back", async () => {
    await running.fault("north", { kind: "cut" });
    const { code, out, err } = await run("stream", running.address, "--restart", "Tell me of trains.");

    assert.equal(code, 0, err);
    const [shown, rest] = out.split("[the answer was cut off and begins again; what stands above is void]\n");
    assert.match(shown!, /\S+\n$/);
    assert.match(rest!, /^\S.+\n$/);
    assert.match(err, /^south\/m: /);
  });

  test("stream: an answer that is not whole ends with 1", async () => {
    await running.fault("north", { kind: "cut" });
    const { code, out, err } = await run("stream", running.address, "Tell me of trains.");

    assert.equal(code, 1);
    assert.match(out, /\S+\n$/);
    assert.match(err, /^stream: STREAM_INTERRUPTED: /);
  });

  test("stream: Ctrl-C ends the provider's call and the script with 130", async () => {
    await running.set("north", { latency: { seconds_per_output_token: 1 } });
    const child = start("stream", running.address, "Tell me of trains.");
    child.stdout.once("data", () => child.kill("SIGINT"));
    const { code, err } = await ended(child);

    assert.equal(code, 130, err);
    await until("the provider has no call under way", async () => (await running.counts("north")).in_flight === 0);
  });

  test("stream: where nobody reads any more the provider's call ends as with Ctrl-C", async () => {
    await running.set("north", { latency: { seconds_per_output_token: 0.2 } });
    const child = start("stream", running.address, "Tell me of trains.");
    child.stdout.once("data", () => child.stdout.destroy());
    const [code, err] = await Promise.all([
      new Promise<number | null>((resolve) => child.once("exit", resolve)),
      text(child.stderr),
    ]);

    assert.deepEqual([code, err], [130, ""]);
    await until("the provider has no call under way", async () => (await running.counts("north")).in_flight === 0);
  });

  test("stream: wrong usage and nobody there have codes of their own", async () => {
    assert.deepEqual(
      (
        await Promise.all([
          run("stream", running.address),
          run("stream", running.address, "--wrong", "x"),
          run("stream", "nowhere", "x"),
          run("stream", "127.0.0.1:1", "x"),
        ])
      ).map(({ code }) => code),
      [2, 2, 2, 3],
    );
  });

  test("vendor SDKs: the planned provider is called, and its outcome arrives", async () => {
    const before = (await running.counts("north")).requests;
    let streamed = "";
    const { value, target } = await ask(client, {
      prompt: "Tell me of trains.",
      keys: KEYS,
      onText: (piece) => (streamed += piece),
    });

    assert.equal(target.name, "north/m");
    assert.ok(value.length > 0);
    assert.equal(streamed, value);
    assert.ok((target.outcome.usage?.inputTokens ?? 0n) > 0n);
    assert.ok((target.outcome.usage?.outputTokens ?? 0n) > 0n);
    assert.equal(target.outcome.streamed, true);
    assert.equal((await running.counts("north")).requests, before + 1);
    await until("all is told", () => client.flush(1));
    const { providers } = await client.status({ providers: ["north"] });
    assert.equal(providers[0]?.targets[0]?.lastSuccessTime !== undefined, true);
  });

  for (const [what, fault] of [
    ["a rate limit", { kind: "error", status: 429, retry_after_seconds: 7 }],
    ["an overload", { kind: "error", status: 503 }],
    ["a reset connection", { kind: "reset" }],
  ] as const) {
    test(`vendor SDKs: ${what} leads to the other SDK after one call`, async () => {
      await running.fault("north", fault);
      const requests = (await running.counts("north")).requests;
      const { value, target } = await ask(client, { prompt: "Tell me of trains.", keys: KEYS });

      assert.equal(target.name, "south/m");
      assert.ok(value.length > 0);
      assert.ok((target.outcome.usage?.inputTokens ?? 0n) > 0n);
      assert.equal((await running.counts("north")).requests, requests + 1);
    });
  }

  test("vendor SDKs: a wrong request comes out at once, in the SDK's own words", async () => {
    await running.fault("north", { kind: "error", status: 400 });
    const requests = (await running.counts("south")).requests;

    await assert.rejects(ask(client, { prompt: "x", keys: KEYS }), { name: "Error", status: 400 });
    assert.equal((await running.counts("south")).requests, requests);
  });

  test("vendor SDKs: a stream that breaks after text came is not begun again behind the reader's back", async () => {
    for (const kind of ["cut", "cut_clean"]) {
      await running.fault("north", { kind });
      const requests = (await running.counts("south")).requests;
      let streamed = "";
      await assert.rejects(ask(client, { prompt: "x", keys: KEYS, onText: (piece) => (streamed += piece) }));

      assert.ok(streamed.length > 0);
      assert.equal((await running.counts("south")).requests, requests);
      await client.flush();
      await reset(running);
    }
  });

  test("vendor SDKs: where nobody answers all were asked", async () => {
    for (const provider of ["north", "south"]) await running.fault(provider, { kind: "error", status: 503 });

    await assert.rejects(ask(client, { prompt: "x", keys: KEYS }), PlanExhaustedError);
    assert.equal((await run("vendor-sdks", running.address, "x")).code, 1);
    assert.equal((await run("vendor-sdks", running.address)).code, 2);
  });

  test("auto-fix: patches come out as JSON, and fit the file", async () => {
    const { code, out, err } = await ended(start("auto-fix", running.address), JSON.stringify(JOB));

    assert.equal(code, 0, err);
    const answer = JSON.parse(out) as Awaited<ReturnType<typeof fix>>;
    assert.deepEqual(Object.keys(answer).sort(), ["cost_usd", "patches", "target"]);
    assert.match(answer.target, /^(north|south)\/m$/);
    assert.ok(answer.cost_usd! > 0);
    assert.deepEqual(Object.keys(answer.patches[0]!).sort(), ["line_end", "line_start", "reason", "replacement"]);
    assert.notEqual(apply(JOB.code, answer.patches), JOB.code);
  });

  test("auto-fix: wrong input ends with 2, a failure with 1, and stdout stays empty", async () => {
    const wrong = await ended(start("auto-fix", running.address), "{");
    for (const provider of ["north", "south"]) await running.fault(provider, { kind: "error", status: 400 });
    const failed = await ended(start("auto-fix", running.address), JSON.stringify(JOB));

    assert.deepEqual([wrong.code, wrong.out], [2, ""]);
    assert.match(wrong.err, /^auto-fix: the request is not JSON/);
    assert.deepEqual([failed.code, failed.out], [1, ""]);
    assert.match(failed.err, /^auto-fix: PROVIDER_REJECTED_REQUEST/);
  });
});

test("auto-fix: the risk level chooses the strategy, and what does not fit is refused", async () => {
  const seen: { strategy: Strategy; task: string; schema: string }[] = [];
  let reply = '{"patches": []}';
  let finishReason = FinishReason.STOP;
  const sidecar = await scripted({
    execute: ({ options, profile, input }) => {
      const { format } = input.responseFormat;
      seen.push({ strategy: options.strategy, task: profile.task, schema: format.value.schemaJson });
      return {
        output: { parts: [{ content: { case: "text", value: reply } }], finishReason },
        target: { provider: "a", model: "m" },
        decision: {},
      };
    },
  });
  const client = new Client({ address: sidecar.address });
  const patch = (line_start: number, line_end: number, replacement: string): object => ({
    line_start,
    line_end,
    replacement,
    reason: "r",
  });
  try {
    for (const [risk_level, strategy] of [
      ["low", Strategy.COST],
      ["medium", Strategy.UNSPECIFIED],
      ["high", Strategy.QUALITY],
    ] as const) {
      reply = JSON.stringify({ patches: [patch(2, 2, "const y = 2;")] });
      const { patches, target, cost_usd } = await fix(client, { ...JOB, risk_level });
      assert.deepEqual(patches, [patch(2, 2, "const y = 2;")]);
      assert.deepEqual([target, cost_usd], ["a/m", null]);
      assert.deepEqual([seen.at(-1)?.strategy, seen.at(-1)?.task], [strategy, "auto_fix"]);
      assert.equal((JSON.parse(seen.at(-1)!.schema) as { type: string }).type, "object");
    }
    for (const bad of [
      "no JSON",
      '{"patches": [{"line_start": 1}]}',
      JSON.stringify({ patches: [] }),
      JSON.stringify({ patches: [patch(1, 1, "let x = 1;")] }),
      JSON.stringify({ patches: [patch(3, 4, "x")] }),
      JSON.stringify({ patches: [patch(2, 1, "x")] }),
      JSON.stringify({ patches: [patch(1, 2, "x"), patch(2, 3, "y")] }),
    ]) {
      reply = bad;
      await assert.rejects(fix(client, JOB), UnfitPatchError, bad);
    }
    finishReason = FinishReason.LENGTH;
    await assert.rejects(fix(client, JOB), /not whole: it ended with LENGTH/);
    sidecar.close();
    await assert.rejects(fix(client, JOB), TurnoutError);
  } finally {
    await client.close();
    sidecar.close();
  }
});

test("auto-fix: wrong input is told by its field", () => {
  for (const [change, words] of [
    [{ file: 7 }, /^file is missing or not a string/],
    [{ code: undefined }, /^code is missing/],
    [{ risk_level: "huge" }, /^risk_level is "huge": give one of low, medium, high/],
    [{ issues: {} }, /^issues is missing or not a list/],
    [{ issues: [] }, /^issues is empty/],
    [{ issues: [{ line: 1.5, message: "x" }] }, /^issues\[0\]\.line is missing or not a whole number/],
    [{ issues: [{ line: 4, message: "x" }] }, /^issues\[0\]\.line is 4: the code has the lines 1 to 3/],
    [{ issues: [{ line: 1 }] }, /^issues\[0\]\.message/],
  ] as const) {
    assert.throws(
      () => readJob(JSON.stringify({ ...JOB, ...change })),
      (error) => error instanceof WrongInputError && words.test(error.message),
      JSON.stringify(change),
    );
  }
  assert.throws(() => readJob("[]"), /^WrongInput|^Error: file is missing/);
});

test("auto-fix: patches keep the line endings, delete, grow, and reach the last line", () => {
  const patched = (code: string, ...patches: [number, number, string][]): string =>
    apply(
      code,
      readPatches(
        JSON.stringify({
          patches: patches.map(([line_start, line_end, replacement]) => ({
            line_start,
            line_end,
            replacement,
            reason: "",
          })),
        }),
        linesOf(code).length,
      ),
    );

  assert.equal(patched("a\r\nb\r\nc", [2, 2, "x\ny"], [1, 1, "z"]), "z\r\nx\r\ny\r\nc");
  assert.equal(patched("a\nb\nc\n", [1, 2, ""]), "c\n");
  assert.equal(patched("a\nb", [2, 2, "x\ny"]), "a\nx\ny");
  assert.equal(patched("a\nb\n", [2, 2, "x\n"]), "a\nx\n");
});

test("screen: on a terminal exactly the rows that were shown are erased", () => {
  const written: string[] = [];
  const screen = new Screen({ write: (piece) => written.push(piece), isTTY: true, columns: 4 });
  // Three rows: "abcd", "ef", "g".
  for (const piece of ["abc", "def", "\ng"]) screen.write(piece);
  screen.takeBack("gone");
  assert.equal(written.at(-1), "\r\x1b[2A\x1b[J\x1b[2m[gone]\x1b[0m\n");

  screen.write("ab");
  screen.takeBack("gone");
  assert.equal(written.at(-1), "\r\x1b[J\x1b[2m[gone]\x1b[0m\n");
  screen.end();
  assert.equal(written.at(-1), "\r\x1b[J\x1b[2m[gone]\x1b[0m\n");
});

test("vendor SDKs: a target for which there is no SDK comes out at once, and nothing is said against it", async () => {
  const failures: FailureKind[] = [];
  const sidecar = await scripted({
    route: () => ({
      decision: { decisionId: "d-1", candidates: [{ target: { provider: "star", model: "m" }, wire: "gemini" }] },
    }),
    reportOutcome: ({ outcomes }) => {
      for (const { failure } of outcomes as { failure: FailureKind }[]) failures.push(failure);
      return { results: [] };
    },
  });
  const client = new Client({ address: sidecar.address });
  try {
    await assert.rejects(ask(client, { prompt: "x", keys: KEYS }), /star\/m speaks gemini.*options\.exclude/);
    await client.flush();
  } finally {
    await client.close();
    sidecar.close();
  }

  assert.deepEqual(failures, [FailureKind.UNKNOWN]);
});

test("vendor SDKs: an address that cannot be one is wrong usage", async () => {
  const { code, err } = await run("vendor-sdks", "http://127.0.0.1:1", "x");

  assert.equal(code, 2);
  assert.match(err, /^vendor-sdks: .*http:\/\/127\.0\.0\.1:1/);
});
