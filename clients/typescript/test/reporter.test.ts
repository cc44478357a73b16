import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { InvalidRequestError, UnreachableError } from "@turnout/client";
import {
  FailureKind,
  type Outcome,
  OutcomeStatus,
  type ReportOutcomeResponse,
  ReportOutcomeResponseSchema,
} from "@turnout/client/v1";
import { Outbox } from "#internal/outbox.js";
import { Reporter, systemTimer } from "#internal/reporter.js";
import { outcome } from "./plans.js";
import { settled, VirtualTime } from "./virtual.js";

const AWAY = new UnreachableError("refused", { code: "UNAVAILABLE" });

class World {
  readonly time = new VirtualTime();
  readonly batches: (readonly Outcome[])[] = [];
  readonly warnings: string[] = [];
  answer: () => ReportOutcomeResponse | Promise<ReportOutcomeResponse> = () => create(ReportOutcomeResponseSchema);
  readonly reporter = new Reporter({
    send: async (outcomes) => {
      this.batches.push(outcomes);
      return this.answer();
    },
    random: () => 1,
    timer: this.time.timer,
    warn: (message) => this.warnings.push(message),
  });

  add(count: number, name = "a"): void {
    for (let place = 0; place < count; place += 1) this.reporter.add(outcome(`${name}/${place}`));
  }

  away(): void {
    this.answer = () => {
      throw AWAY;
    };
  }

  back(): void {
    this.answer = () => create(ReportOutcomeResponseSchema);
  }
}

test("outcomes of 50 ms go together, and not before", async () => {
  const world = new World();
  world.add(2);
  await world.time.pass(0.049);
  assert.equal(world.batches.length, 0);
  world.add(1, "b");
  await world.time.pass(0.001);

  assert.deepEqual(
    world.batches.map((batch) => batch.map(({ target }) => `${target?.provider}/${target?.model}`)),
    [["a/0", "a/1", "b/0"]],
  );
  assert.equal(world.reporter.pendingCount, 0);
  assert.equal(world.time.nextSeconds, undefined);
});

test("a hundred go at once, and no more than a hundred together", async () => {
  const world = new World();
  world.add(250);
  await settled();
  await settled();

  assert.deepEqual(
    world.batches.map((batch) => batch.length),
    [100, 100],
  );
  await world.time.pass(0.05);
  assert.equal(world.batches[2]?.length, 50);
});

test("while the sidecar is away outcomes wait, and arrive in order when it is back", async () => {
  const world = new World();
  world.away();
  world.add(3);
  await world.time.pass(10);
  const tries = world.batches.length;
  assert.ok(tries >= 4 && tries <= 12, `${tries} tries in 10 s`);
  assert.equal(world.reporter.pendingCount, 3);
  assert.ok(world.time.nextSeconds! <= 2);

  world.back();
  await world.time.pass(2);
  assert.equal(world.reporter.pendingCount, 0);
  assert.equal(world.reporter.droppedCount, 0);
  assert.deepEqual(
    world.batches.at(-1)?.map(({ target }) => target?.model),
    ["0", "1", "2"],
  );
  assert.deepEqual(world.warnings, []);
});

test("past a thousand the oldest is dropped and counted", async () => {
  const world = new World();
  world.away();
  world.add(1);
  await world.time.pass(0.05);
  world.add(1100, "b");
  assert.equal(world.reporter.pendingCount, 1000);
  assert.equal(world.reporter.droppedCount, 101);

  world.back();
  await world.time.pass(5);
  const sent = world.batches.slice(1).flat();
  assert.equal(sent.length, 1000);
  assert.equal(sent[0]?.target?.model, "100");
});

test("what the sidecar will never take is given up, and said", async () => {
  const world = new World();
  world.answer = () => {
    throw new InvalidRequestError("no", { reason: "INVALID_REQUEST", code: "INVALID_ARGUMENT" });
  };
  world.add(2);
  await world.time.pass(0.05);

  assert.equal(world.reporter.droppedCount, 2);
  assert.equal(world.reporter.pendingCount, 0);
  assert.match(world.warnings.join(), /2 outcomes were not reported to the sidecar: INVALID_REQUEST: no/);
});

test("a rejected outcome is said", async () => {
  const world = new World();
  world.answer = () =>
    create(ReportOutcomeResponseSchema, { results: [{ status: OutcomeStatus.REJECTED, reason: "no such target" }] });
  world.add(1);
  await world.time.pass(0.05);

  assert.match(world.warnings.join(), /rejected a reported outcome: no such target/);
});

test("flush does not wait for others to go along", async () => {
  const world = new World();
  world.add(1);
  const flushed = world.reporter.flush(5);
  await settled();

  assert.equal(await flushed, true);
  assert.equal(world.batches.length, 1);
  assert.equal(await world.reporter.flush(5), true);
});

test("flush waits no longer than told", async () => {
  const world = new World();
  world.away();
  world.add(1);
  const flushed = world.reporter.flush(5);
  await world.time.pass(5);

  assert.equal(await flushed, false);
});

test("a failure presses, and is sent with one try", async () => {
  const world = new World();
  world.add(1);
  assert.equal(world.reporter.pressing, false);
  world.reporter.add(outcome("a/m", FailureKind.TIMEOUT));
  assert.equal(world.reporter.pressing, true);
  const sent = world.reporter.sendPressing(1);
  await settled();
  await sent;
  assert.equal(world.reporter.pressing, false);
  assert.equal(world.batches.length, 1);

  world.away();
  world.reporter.add(outcome("a/m", FailureKind.TIMEOUT));
  const missed = world.reporter.sendPressing(1);
  await settled();
  await missed;
  assert.equal(world.reporter.pressing, true);
  assert.equal(world.batches.length, 2);
});

test("a sidecar that does not answer holds nobody up longer than told", async () => {
  const world = new World();
  world.answer = () => new Promise(() => {});
  world.reporter.add(outcome("a/m", FailureKind.TIMEOUT));
  let done = false;
  void world.reporter.sendPressing(0.5).then(() => {
    done = true;
  });
  await world.time.pass(0.49);
  assert.equal(done, false);
  await world.time.pass(0.01);

  assert.equal(done, true);
});

test("closing sends what is left, gives up the rest, and takes nothing more", async () => {
  const world = new World();
  world.add(150);
  const closed = world.reporter.close(2);
  await settled();
  await settled();
  await closed;
  assert.equal(world.batches.flat().length, 150);

  const lost = new World();
  lost.away();
  lost.add(3);
  const given = lost.reporter.close(2);
  await lost.time.pass(2);
  await given;
  assert.equal(lost.reporter.droppedCount, 3);
  lost.add(1);
  assert.equal(lost.reporter.droppedCount, 4);
  assert.equal(lost.reporter.pendingCount, 0);
});

test("an outbox forgets that it pressed when what pressed is dropped", () => {
  const outbox = new Outbox();
  outbox.add(outcome("a/m", FailureKind.TIMEOUT));
  for (let place = 0; place < 1000; place += 1) outbox.add(outcome("b/m"));

  assert.equal(outbox.pressing, false);
  assert.equal(outbox.droppedCount, 1);
});

test("a time without end is waited for, and not taken for none", async () => {
  let rung = false;

  const stop = systemTimer(Number.POSITIVE_INFINITY, true, () => {
    rung = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  stop();

  assert.equal(rung, false);
});
