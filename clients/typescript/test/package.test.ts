import assert from "node:assert/strict";
import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "turnout-ts-package-"));

after(() => rmSync(folder, { recursive: true, force: true }));

function command(cwd: string, name: string, ...words: string[]): SpawnSyncReturns<string> {
  return spawnSync(name, words, { cwd, encoding: "utf8" });
}

const USE = `
import { Client, UnreachableError, chat, type PlanResult } from "@turnout/client";
import { FailureKind, Strategy } from "@turnout/client/v1";

const client: Client = new Client({ address: "127.0.0.1:1", maxRetryCount: 0, fallback: ["openai/gpt-4o"] });
try {
  await client.execute({ input: chat("Hello"), options: { strategy: Strategy.COST } });
  throw new Error("nobody is there");
} catch (error) {
  if (!(error instanceof UnreachableError)) throw error;
}
const made: PlanResult<string> = await client.plan({ profile: { task: "chat" } }, (target) => target.model);
if (!made.plan.stale || made.value !== "gpt-4o") throw new Error("no fallback");
let broken = false;
try {
  await import("@opentelemetry/" + "api");
} catch {
  broken = true;
}
console.log("used", FailureKind[1], broken ? "without tracing" : "with tracing");
await client.close();
`;

test("the packed package installs in an empty folder, has types, and works without what is optional", (t) => {
  const packed = command(root, "npm", "pack", "--ignore-scripts", "--json", "--pack-destination", folder);
  assert.equal(packed.status, 0, packed.stderr);
  const archive = readdirSync(folder).find((name) => name.endsWith(".tgz"))!;
  writeFileSync(join(folder, "package.json"), '{"name": "user", "private": true, "type": "module"}');
  const words = ["install", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", `./${archive}`];
  const installed = command(folder, "npm", ...words);
  if (installed.status !== 0 && /ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT/.test(installed.stderr)) {
    t.skip("no registry can be reached, and npm has not kept the two dependencies");
    return;
  }
  assert.equal(installed.status, 0, installed.stderr);

  writeFileSync(join(folder, "use.ts"), USE);
  const compiled = command(
    folder,
    process.execPath,
    join(root, "node_modules/typescript/bin/tsc"),
    ...["--strict", "--skipLibCheck", "false", "--module", "nodenext", "--target", "es2022", "--types", "node"],
    ...["--typeRoots", join(root, "node_modules/@types"), "use.ts"],
  );
  assert.equal(compiled.status, 0, compiled.stdout);
  const used = command(folder, process.execPath, "use.js");
  assert.equal(used.status, 0, used.stderr);
  assert.equal(used.stdout, "used RATE_LIMITED without tracing\n");
});

test("the package holds what it must, and nothing else", () => {
  const told = command(root, "npm", "pack", "--ignore-scripts", "--json", "--dry-run");
  const parsed = JSON.parse(told.stdout) as unknown;
  const [{ files }] = Object.values(parsed as object) as [{ files: { path: string }[] }];
  const paths = files.map(({ path }) => path);

  for (const needed of ["LICENSE", "README.md", "package.json", "dist/index.js", "dist/index.d.ts", "dist/v1.d.ts"]) {
    assert.ok(paths.includes(needed), `${needed} is missing in ${paths.join(" ")}`);
  }
  assert.ok(paths.includes("dist/gen/turnout/v1/router_pb.js"));
  assert.deepEqual(
    paths.filter((path) => !/^(LICENSE|README\.md|package\.json|dist\/.+\.(js|d\.ts))$/.test(path)),
    [],
  );
});

test("the lock file names no registry", () => {
  assert.doesNotMatch(readFileSync(join(root, "package-lock.json"), "utf8"), /"resolved"/);
});
