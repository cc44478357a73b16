import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { inspect } from "node:util";
import { type ConnectOptions, UsageError } from "@turnout/client";
import { connect } from "#internal/connect.js";

const folder = mkdtempSync(join(tmpdir(), "turnout-ts-connect-"));

after(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function refused(options: ConnectOptions, environment: NodeJS.ProcessEnv, words: RegExp): void {
  assert.throws(
    () => connect(options, environment),
    (error) => error instanceof UsageError && words.test(error.message),
    inspect(options),
  );
}

test("the address given goes before the environment's, and that before the default", () => {
  const environment = { TURNOUT_ADDRESS: "unix:/run/t.sock" };

  assert.equal(connect({ address: "10.0.0.1:5" }, environment).address, "10.0.0.1:5");
  assert.equal(connect({}, environment).address, "unix:/run/t.sock");
  assert.equal(connect({}, {}).address, "127.0.0.1:50151");
});

test("an address that cannot be one is refused, and the error says what would be right", () => {
  for (const address of [
    "localhost",
    ":50151",
    "localhost:0",
    "localhost:65536",
    "localhost:http",
    "http://localhost:50151",
    "local host:1",
    "::1:50151",
    "unix:",
    "unix:/",
    "dns:///x:1",
  ]) {
    refused({ address }, {}, /is not an address of a sidecar: give host:port or unix:\/path/);
  }
  for (const address of ["localhost:1", "[::1]:50151", "a.b-c:65535", "unix:/a/b", "unix:rel.sock", "dns:53"]) {
    assert.equal(connect({ address }, {}).address, address);
  }
});

test("a token is taken from where it is given, and cut to one line", () => {
  const path = file("token", " secret-token \n");

  assert.equal(connect({ token: "t" }, { TURNOUT_TOKEN: "other" }).token.text, "t");
  assert.equal(connect({ tokenFile: path }, { TURNOUT_TOKEN: "other" }).token.text, "secret-token");
  assert.equal(connect({}, { TURNOUT_TOKEN: " t2\n" }).token.text, "t2");
  assert.equal(connect({}, { TURNOUT_TOKEN_FILE: path }).token.text, "secret-token");
  assert.equal(connect({}, {}).token.text, "");
});

test("tokens that cannot be sent are refused", () => {
  refused({ token: "t", tokenFile: "f" }, {}, /both a token and a token file/);
  refused({}, { TURNOUT_TOKEN: "t", TURNOUT_TOKEN_FILE: "f" }, /TURNOUT_TOKEN and TURNOUT_TOKEN_FILE are both set/);
  refused({ tokenFile: join(folder, "none") }, {}, /token file .*none cannot be read: ENOENT/);
  refused({ tokenFile: file("empty", "\n") }, {}, /is empty/);
  refused({ tokenFile: file("two", "a\nb") }, {}, /holds no token/);
  refused({ token: "a b" }, {}, /what is given as token is none/);
});

test("a token goes over TLS or stays on this machine", () => {
  for (const address of ["10.0.0.1:1", "sidecar:1", "128.0.0.1:1", "localhost.example.com:1"]) {
    refused({ address, token: "t" }, {}, /a token would go to .* in plain text: switch TLS on/);
    assert.ok(connect({ address, token: "t", tls: {} }, {}));
  }
  for (const address of ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/a"]) {
    assert.ok(connect({ address, token: "t" }, {}));
  }
});

test("TLS that cannot work is refused", () => {
  refused({ tls: { certFile: file("c", "x") } }, {}, /one of certificate and key: mutual TLS needs both/);
  refused({ tls: { caFile: join(folder, "none") } }, {}, /CA file .* cannot be read: ENOENT/);
  refused({ tls: { ca: "x", caFile: "y" } }, {}, /given twice/);
  refused({ tls: { cert: "x", key: "y" } }, {}, /certificates given for TLS cannot be used/);
  refused({}, { TURNOUT_KEY_FILE: file("k", "x") }, /mutual TLS needs both/);
});

test("a Unix socket has no TLS, whatever the environment says", () => {
  const environment = { TURNOUT_CA_FILE: join(folder, "none") };

  assert.ok(connect({ address: "unix:/a" }, environment));
  refused({ address: "localhost:1" }, environment, /cannot be read/);
  assert.equal(connect({ address: "unix:/a" }, {}).channelOptions["grpc.default_authority"], "localhost");
});

test("gRPC itself repeats nothing, asks no proxy and takes 32 MiB", () => {
  const { channelOptions } = connect({}, {});

  assert.equal(channelOptions["grpc.enable_retries"], 0);
  assert.equal(channelOptions["grpc.enable_http_proxy"], 0);
  assert.equal(channelOptions["grpc.max_receive_message_length"], 32 * 1024 * 1024);
  assert.equal(channelOptions["grpc.max_send_message_length"], 32 * 1024 * 1024);
  assert.equal(channelOptions["grpc.initial_reconnect_backoff_ms"], 100);
  assert.equal(channelOptions["grpc.max_reconnect_backoff_ms"], 2000);
});

test("a connection is looked after every 20 s, also without calls, and given up after 10 s without an answer", () => {
  for (const address of ["127.0.0.1:50151", "unix:/run/t.sock"]) {
    const { channelOptions } = connect({ address }, {});

    assert.equal(channelOptions["grpc.keepalive_time_ms"], 20_000);
    assert.equal(channelOptions["grpc.keepalive_timeout_ms"], 10_000);
    assert.equal(channelOptions["grpc.keepalive_permit_without_calls"], 1);
  }
});

test("a token file is read again, and one that cannot be read leaves the token before", () => {
  const path = file("renewed", "first");
  const { token } = connect({ tokenFile: path }, {});
  assert.equal(token.renewed("first"), false);
  writeFileSync(path, "second");
  assert.equal(token.renewed("first"), true);
  assert.equal(token.text, "second");
  writeFileSync(path, "");
  assert.equal(token.renewed("second"), false);
  assert.equal(token.text, "second");
});

test("no log of a connection shows the token", () => {
  assert.doesNotMatch(inspect(connect({ token: "s3cret" }, {}), { depth: 9 }), /s3cret/);
});
