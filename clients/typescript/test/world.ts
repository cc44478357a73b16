/**
 * The real thing as two processes: `turnout sim` with two providers, and `turnout serve` in front of them. TURNOUT_BIN
 * names the command; without it the tests that need it are skipped with that reason.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Why real tests are skipped, false where they are not. */
export const withoutSidecar: string | false = process.env["TURNOUT_BIN"] ? false : "TURNOUT_BIN names no turnout";

/** How long anything may take on a slow and busy machine. */
const PATIENCE_SECONDS = 60;

const MODEL =
  "{name: m, context_window_tokens: 128000, max_output_tokens: 4096, quality: 80, latency_prior_seconds: 0.05, " +
  "price: {input_per_million_usd: 1, output_per_million_usd: 2}, " +
  "capabilities: [STREAMING, TOOLS, JSON_SCHEMA, CODE]}";

/** A running sidecar, and the control of the providers behind it. */
export interface World {
  readonly address: string;
  /** Makes a simulated provider go wrong; null makes it well again. */
  fault(provider: string, fault: Record<string, unknown> | null): Promise<void>;
  /** Changes other settings of a simulated provider. */
  set(provider: string, changes: Record<string, unknown>): Promise<void>;
  /** How many requests a simulated provider has got, and how many are under way. */
  counts(provider: string): Promise<{ requests: number; in_flight: number }>;
  /** Stops the sidecar, as an operator would. */
  stopSidecar(): Promise<void>;
  /** Starts it again, at the same address. */
  startSidecar(): Promise<void>;
  /** Ends both processes. */
  close(): Promise<void>;
}

/** Starts both processes. */
export async function world(): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), "turnout-ts-"));
  const sim = await start(folder, "sim", "--port", "0", "--provider", "north=openai", "--provider", "south=anthropic");
  const providers = sim.told["providers"] as Record<string, { base_url: string }>;
  const control = sim.told["control"] as string;
  const file = join(folder, "turnout.yaml");
  const provider = (name: string, wire: string): string => `  ${name}:
    wire: ${wire}
    base_url: "${providers[name]!.base_url}"
    allow_insecure: true
    allow_private: true
    models: [${MODEL}]`;
  const write = (address: string): void => {
    writeFileSync(
      file,
      `listen: {address: "${address}"}
health: {address: ""}
metrics: {address: ""}
providers:
${provider("north", "openai")}
${provider("south", "anthropic")}
routing:
  provider_order: [north, south]
  policies: {default: {strategy: PRIORITY}}
  plan_valid_seconds: 300
failover: {connect_timeout_seconds: 60, first_token_timeout_seconds: 300}
drain_seconds: 1
`,
    );
  };
  write("127.0.0.1:0");
  let sidecar = await start(folder, "serve", "-c", file);
  const address = (sidecar.told["grpc"] as string[])[0]!;
  const patch = async (provider: string, body: Record<string, unknown>): Promise<void> => {
    const answer = await fetch(`${control}/${provider}`, { method: "PATCH", body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  };
  return {
    address,
    fault: (provider, fault) => patch(provider, { fault }),
    set: patch,
    counts: async (provider) => {
      const told = (await (await fetch(`${control}/${provider}`)).json()) as {
        counts: { requests: number; in_flight: number };
      };
      return told.counts;
    },
    stopSidecar: () => sidecar.stop(),
    startSidecar: async () => {
      write(address);
      sidecar = await start(folder, "serve", "-c", file);
    },
    close: async () => {
      await sidecar.stop();
      await sim.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Forgets what was done to the targets' health. */
export async function reset({ address }: World): Promise<void> {
  const done = spawnSync(process.env["TURNOUT_BIN"]!, ["reset", "--all", "--address", address], { encoding: "utf8" });
  if (done.status !== 0) throw new Error(done.stderr);
}

/** Waits until something is so. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_SECONDS * 1000;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`not so after ${PATIENCE_SECONDS} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

interface Started {
  readonly told: Record<string, unknown>;
  stop(): Promise<void>;
}

/** Starts a command of the product; it says in one line of JSON where it listens. */
async function start(folder: string, command: string, ...words: string[]): Promise<Started> {
  const log = join(folder, `${command}.log`);
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/(_API_KEY|_HOST)$|^TURNOUT_|^OTEL_/.test(name)),
  );
  const child: ChildProcess = spawn(process.env["TURNOUT_BIN"] ?? "turnout", [command, ...words], {
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.stderr!.pipe(createWriteStream(log));
  for await (const line of createInterface({ input: child.stdout! })) {
    child.stdout!.resume();
    return {
      told: JSON.parse(line) as Record<string, unknown>,
      stop: async () => {
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
        await ended;
      },
    };
  }
  await ended;
  throw new Error(`turnout ${command} did not start: ${readFileSync(log, "utf8")}`);
}
