import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  AttemptsExhaustedError,
  chat,
  Client,
  DeadlineError,
  InvalidRequestError,
  NoEligibleTargetError,
  PlanExhaustedError,
  RestartedError,
  StreamInterruptedError,
  UnreachableError,
} from "@turnout/client";
import { FailureKind, FinishReason, MidStreamPolicy } from "@turnout/client/v1";
import { reset, until, type World, withoutSidecar, world } from "./world.js";

const CHAT = { profile: { task: "chat" } };
const PROMPT = { ...CHAT, input: chat("Tell me about trains.") };

describe("with a real sidecar", { skip: withoutSidecar }, () => {
  let running: World;
  let client: Client;

  before(async () => {
    running = await world();
    client = new Client({ address: running.address });
  });

  after(async () => {
    await client.close();
    await running.close();
  });

  test("execute returns an answer with its target, usage and cost", async () => {
    const answer = await client.execute(PROMPT);

    assert.ok(answer.text.length > 0);
    assert.equal(answer.target, "north/m");
    assert.equal(answer.finishReason, FinishReason.STOP);
    assert.ok((answer.usage?.outputTokens ?? 0n) > 0n);
    assert.ok((answer.costUsd ?? 0) > 0);
    assert.equal(answer.decision.decisionId.length > 0, true);
  });

  test("a stream's pieces are the text of its answer", async () => {
    const stream = client.stream(PROMPT);
    let text = "";
    for await (const piece of stream.text()) text += piece;
    const answer = await stream.answer();

    assert.ok(text.length > 0);
    assert.equal(answer.text, text);
    assert.equal(answer.target, "north/m");
  });

  test("a stream that breaks is an error that carries what came so far", async () => {
    await running.fault("north", { kind: "cut" });
    try {
      const stream = client.stream({ ...PROMPT, options: { midStream: MidStreamPolicy.FAIL } });
      const error = await stream.answer().then(
        () => assert.fail("a cut stream looked complete"),
        (failed: unknown) => failed,
      );

      assert.ok(error instanceof StreamInterruptedError, String(error));
      assert.ok((error.partial?.text.length ?? 0) > 0);
      assert.equal(error.partial?.text, stream.textSoFar);
      assert.equal(error.attempts[0]?.failure, FailureKind.TRUNCATED);
      assert.ok((error.deliveredBytes ?? 0) > 0);
      await assert.rejects(stream.answer(), StreamInterruptedError);
    } finally {
      await running.fault("north", null);
    }
  });

  test("a restart voids what came before, and text() says so", async () => {
    const restarting = { ...PROMPT, options: { midStream: MidStreamPolicy.RESTART } };
    await running.fault("north", { kind: "cut" });
    try {
      const stream = client.stream(restarting);
      let shown = "";
      let taken = "";
      for await (const piece of stream.text({
        onRestart: () => {
          taken = shown;
          shown = "";
        },
      })) {
        shown += piece;
      }
      const answer = await stream.answer();

      assert.ok(taken.length > 0);
      assert.equal(shown, answer.text);
      assert.equal(answer.target, "south/m");
      await assert.rejects(async () => {
        for await (const _ of client.stream(restarting).text());
      }, RestartedError);
    } finally {
      await running.fault("north", null);
      await reset(running);
    }
  });

  test("leaving a stream early ends the provider's call", async () => {
    await running.set("north", { latency: { seconds_per_output_token: 0.2 } });
    try {
      for await (const { event } of client.stream(PROMPT)) {
        if (event.case === "delta") break;
      }

      await until("the provider has no call under way", async () => {
        const status = await client.status();
        return status.providers.every((provider) => provider.inFlight === 0n);
      });
    } finally {
      await running.set("north", { latency: { seconds_per_output_token: 0 } });
    }
  });

  test("an aborted call rejects with the signal's reason", async () => {
    await running.set("north", { latency: { first_token_seconds: 30 } });
    try {
      const aborting = new AbortController();
      const reason = new Error("changed my mind");
      const call = client.execute(PROMPT, { signal: aborting.signal });
      await until("the call is under way", async () =>
        (await client.status()).providers.some((provider) => provider.inFlight > 0n),
      );
      aborting.abort(reason);

      await assert.rejects(call, (error) => error === reason);
      await until("the provider's call has ended", async () =>
        (await client.status()).providers.every((provider) => provider.inFlight === 0n),
      );
    } finally {
      await running.set("north", { latency: { first_token_seconds: 0 } });
    }
  });

  test("a deadline that runs out is a DeadlineError", async () => {
    for (const provider of ["north", "south"]) await running.set(provider, { latency: { first_token_seconds: 30 } });
    try {
      await assert.rejects(client.execute(PROMPT, { timeoutSeconds: 0.5 }), DeadlineError);
    } finally {
      for (const provider of ["north", "south"]) await running.set(provider, { latency: { first_token_seconds: 0 } });
      await reset(running);
    }
  });

  test("errors carry the reason, the fields and the rejections", async () => {
    await assert.rejects(client.route({ options: { minQuality: 120 } }), (error) => {
      assert.ok(error instanceof InvalidRequestError);
      assert.equal(error.reason, "INVALID_REQUEST");
      assert.equal(error.code, "INVALID_ARGUMENT");
      assert.deepEqual(
        error.fieldViolations.map(({ field }) => field),
        ["options.min_quality"],
      );
      return true;
    });
    await assert.rejects(client.route({ options: { minQuality: 99 } }), (error) => {
      assert.ok(error instanceof NoEligibleTargetError);
      assert.equal(error.rejections.length, 2);
      assert.ok(error.decisionId);
      return true;
    });
  });

  test("attempts that all failed are told one by one", async () => {
    for (const provider of ["north", "south"]) await running.fault(provider, { kind: "cut", after_pieces: 0 });
    try {
      await assert.rejects(client.execute(PROMPT), (error) => {
        assert.ok(error instanceof AttemptsExhaustedError, String(error));
        assert.deepEqual(new Set(error.attempts.map(({ target }) => target?.provider)), new Set(["north", "south"]));
        return true;
      });
    } finally {
      for (const provider of ["north", "south"]) await running.fault(provider, null);
      await reset(running);
    }
  });

  test("the state of providers can be followed", async () => {
    const seen = [];
    for await (const change of client.watchStatus()) {
      seen.push(change);
      if (seen.length === 2) break;
      await client.execute(PROMPT);
    }

    assert.equal(seen[0]?.snapshot, true);
    assert.deepEqual(
      seen[0]?.changed.map(({ provider }) => provider),
      ["north", "south"],
    );
    assert.ok(seen[1]!.revision > seen[0]!.revision);
  });

  test("messages of 20 MB go both ways", async () => {
    const text = "x".repeat(20_000_000);
    const { parts } = await client
      .execute({ input: chat(text), options: { maxCostUsd: 0.000001 } })
      .then(() => assert.fail("it was not refused"))
      .catch((error: unknown) => {
        // Too long for the models of this test, so the sidecar itself answers: it has read all of it.
        assert.ok(error instanceof NoEligibleTargetError, String(error));
        return { parts: error.rejections };
      });

    assert.equal(parts.length, 2);
  });
});

describe("advise mode with a real sidecar", { skip: withoutSidecar }, () => {
  let running: World;
  let client: Client;

  before(async () => {
    running = await world();
  });

  after(async () => {
    await running.close();
  });

  test("a plan is used again without asking, and a failing target is left within one outcome", async () => {
    client = new Client({ address: running.address });
    // Connected: plans have the client's own short deadline.
    await client.route({}, { timeoutSeconds: 60 });
    const called: string[] = [];
    const first = await client.plan(CHAT, ({ name }) => called.push(name));
    const again = await client.plan(CHAT, ({ name }) => called.push(name));

    assert.equal(first.plan.reused, false);
    assert.equal(again.plan.reused, true);
    assert.equal(again.plan.decision.decisionId, first.plan.decision.decisionId);
    assert.deepEqual(called, ["north/m", "north/m"]);

    called.length = 0;
    const failedOver = await client.plan(CHAT, ({ name, provider }) => {
      called.push(name);
      if (provider === "north") throw Object.assign(new Error("HTTP 500"), { status: 500 });
      return name;
    });
    assert.equal(failedOver.value, "south/m");
    assert.deepEqual(called, ["north/m", "south/m"]);

    // The sidecar was told before it was asked again: it had the outcome when it decided.
    const next = await client.plan(CHAT, () => 1);
    assert.equal(next.plan.reused, false);
    await until("the sidecar decided anew", async () => {
      const { decision } = (await client.plan(CHAT, () => 1)).plan;
      return decision.decisionId !== first.plan.decision.decisionId;
    });
    await until("all is told", () => client.flush(1));
    const { providers } = await client.status({ providers: ["north"] });
    assert.equal(providers[0]?.targets[0]?.errorRates["SERVER_ERROR"], 1 / Number(providers[0]?.requestCount));
    await client.close();
    assert.equal(client.unreportedCount, 0);
    assert.equal(client.pendingReportCount, 0);
  });

  test("with the sidecar away the last plan serves, and reports arrive when it is back", async () => {
    client = new Client({ address: running.address, fallback: { "": ["south/m"], other: ["south/m"] } });
    const asked = { profile: { task: "chat", inputTokens: 10n } };
    await until("the sidecar has answered", async () => !(await client.plan(asked, () => 1)).plan.stale);
    const fresh = await client.plan(asked, () => 1);
    await running.stopSidecar();

    const last = await client.plan({ profile: { task: "chat", inputTokens: 20n } }, ({ name }) => name);
    assert.equal(last.plan.stale, true);
    assert.equal(last.plan.reused, false);
    assert.equal(last.value, fresh.plan.candidates[0]?.target?.provider + "/m");
    assert.match(last.plan.staleReason, /last plan for this request/);

    const fixed = await client.plan({ profile: { task: "other" } }, ({ name }) => name);
    assert.equal(fixed.value, "south/m");
    assert.equal(fixed.plan.decision.decisionId, "");

    await running.startSidecar();
    await until("plans are fresh again", async () => !(await client.plan(CHAT, () => 1)).plan.stale);
    await until("reports are out", () => client.flush(1));
    assert.equal(client.unreportedCount, 0);
    await client.close();
  });

  test("without anything to fall back on the error comes out", async () => {
    const lonely = new Client({ address: "127.0.0.1:1" });
    await assert.rejects(
      lonely.plan(CHAT, () => assert.fail("nobody to call")),
      UnreachableError,
    );
    await lonely.close();
  });

  test("a plan whose targets all fail says so, with the last exception as its cause", async () => {
    client = new Client({ address: running.address });
    const failure = Object.assign(new Error("HTTP 503"), { status: 503 });
    await assert.rejects(
      client.plan(CHAT, () => {
        throw failure;
      }),
      (error) => error instanceof PlanExhaustedError && error.cause === failure && error.decisionId !== "",
    );
    await until("all is told", () => client.flush(1));
    await client.close();
    assert.equal(client.unreportedCount, 0);
  });
});
