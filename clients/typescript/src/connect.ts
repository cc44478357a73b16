/** Where the sidecar is and how to speak to it: address, token, TLS and the options of the channel. */

import { readFileSync } from "node:fs";
import { isIP, isIPv6 } from "node:net";
import { credentials, type ChannelCredentials, type ChannelOptions } from "@grpc/grpc-js";
import { UsageError } from "./errors.js";
import { TokenSource } from "./token.js";

/** Where a sidecar listens out of the box. */
export const DEFAULT_ADDRESS = "127.0.0.1:50151";

/** The sidecar's own limit of a message, in bytes. */
export const MESSAGE_BYTES = 32 * 1024 * 1024;

/** TLS to the sidecar. What is given as a file is read when the client is made. All values are PEM. */
export interface TlsOptions {
  /** What the sidecar's certificate is checked against; without it the roots that Node brings. */
  readonly ca?: string | Uint8Array;
  /** A file with the same. */
  readonly caFile?: string;
  /** The client's own certificate, for mutual TLS; needs its key. */
  readonly cert?: string | Uint8Array;
  /** A file with the same. */
  readonly certFile?: string;
  /** The key of the client's own certificate. */
  readonly key?: string | Uint8Array;
  /** A file with the same. */
  readonly keyFile?: string;
  /** What the sidecar's certificate must say, where it is not the address's host. */
  readonly serverName?: string;
}

/** What is given of the way to the sidecar; the environment says the rest. */
export interface ConnectOptions {
  /** "host:port" or "unix:/path". Without it that of TURNOUT_ADDRESS, else 127.0.0.1:50151. */
  readonly address?: string;
  /** A bearer token. It goes over TLS or stays on this machine. */
  readonly token?: string;
  /** A file with a token, read again when the sidecar no longer takes what was in it. */
  readonly tokenFile?: string;
  /** Switches TLS on; `{}` uses the roots that Node brings. Does not count for a Unix socket. */
  readonly tls?: TlsOptions;
}

/** A checked way to the sidecar. */
export interface Connection {
  /** As given: "host:port" or "unix:/path". */
  readonly address: string;
  /** The same as gRPC's name of a target. */
  readonly target: string;
  readonly credentials: ChannelCredentials;
  readonly channelOptions: ChannelOptions;
  readonly token: TokenSource;
}

/**
 * Returns the way to the sidecar: as given, and for what is not given as the environment says (TURNOUT_ADDRESS,
 * TURNOUT_TOKEN or TURNOUT_TOKEN_FILE, TURNOUT_CA_FILE, TURNOUT_CERT_FILE, TURNOUT_KEY_FILE, TURNOUT_SERVER_NAME).
 *
 * @throws {@link UsageError} for an address that cannot be one, a token in the open, half a key pair, a file that
 * cannot be read, and both a token and a token file.
 */
export function connect(options: ConnectOptions, environment: NodeJS.ProcessEnv): Connection {
  const address = options.address || environment["TURNOUT_ADDRESS"] || DEFAULT_ADDRESS;
  checkAddress(address);
  const local = address.startsWith("unix:");
  const tls = local ? undefined : (options.tls ?? tlsOf(environment));
  const token = tokenOf(options, environment);
  if (token.text && !tls && !isOnThisMachine(address)) {
    throw new UsageError(
      `a token would go to ${address} in plain text: switch TLS on (tls: { caFile } or TURNOUT_CA_FILE), ` +
        "or use a local address",
    );
  }
  const channelOptions: ChannelOptions = {
    "grpc.max_receive_message_length": MESSAGE_BYTES,
    "grpc.max_send_message_length": MESSAGE_BYTES,
    // A sidecar is next door: an egress proxy from the environment must not come between.
    "grpc.enable_http_proxy": 0,
    // The contract says what may be sent again; gRPC must not add to that, nor ask DNS for rules.
    "grpc.enable_retries": 0,
    "grpc.service_config_disable_resolution": 1,
    // A restarted sidecar is back within seconds; gRPC's default would wait up to two minutes.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2000,
    // A connection that died without a word would take every call into its deadline for a quarter of an hour. The
    // sidecar allows a ping every 5 s, also without calls.
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 1,
    // Two clients of one process, with different tokens or lives, share no connection.
    "grpc.use_local_subchannel_pool": 1,
  };
  if (local) channelOptions["grpc.default_authority"] = "localhost";
  if (tls?.serverName) channelOptions["grpc.ssl_target_name_override"] = tls.serverName;
  return {
    address,
    // With its scheme, so that a host with the name of a scheme is still a host.
    target: local ? address : `dns:${address}`,
    credentials: tls ? tlsCredentials(tls) : credentials.createInsecure(),
    channelOptions,
    token,
  };
}

function tokenOf(options: ConnectOptions, environment: NodeJS.ProcessEnv): TokenSource {
  if (options.token && options.tokenFile) {
    throw new UsageError("both a token and a token file are given: give one of them");
  }
  if (options.token) return TokenSource.ofText(options.token);
  if (options.tokenFile) return TokenSource.ofFile(options.tokenFile);
  const text = environment["TURNOUT_TOKEN"]?.trim();
  const file = environment["TURNOUT_TOKEN_FILE"];
  if (text && file) throw new UsageError("TURNOUT_TOKEN and TURNOUT_TOKEN_FILE are both set: set one of them");
  if (text) return TokenSource.ofText(text);
  return file ? TokenSource.ofFile(file) : TokenSource.none();
}

function tlsOf(environment: NodeJS.ProcessEnv): TlsOptions | undefined {
  const given: Record<string, string> = {};
  for (const [name, variable] of [
    ["caFile", "TURNOUT_CA_FILE"],
    ["certFile", "TURNOUT_CERT_FILE"],
    ["keyFile", "TURNOUT_KEY_FILE"],
    ["serverName", "TURNOUT_SERVER_NAME"],
  ] as const) {
    const value = environment[variable];
    if (value) given[name] = value;
  }
  return Object.keys(given).length > 0 ? given : undefined;
}

function tlsCredentials(tls: TlsOptions): ChannelCredentials {
  const ca = pem("CA", tls.ca, tls.caFile);
  const cert = pem("certificate", tls.cert, tls.certFile);
  const key = pem("key", tls.key, tls.keyFile);
  if ((cert === null) !== (key === null)) {
    throw new UsageError("tls has one of certificate and key: mutual TLS needs both");
  }
  try {
    return credentials.createSsl(ca, key, cert);
  } catch (error) {
    throw new UsageError(`the certificates given for TLS cannot be used: ${(error as Error).message}`);
  }
}

function pem(what: string, value: string | Uint8Array | undefined, file: string | undefined): Buffer | null {
  if (value !== undefined && file) throw new UsageError(`the ${what} of TLS is given twice, as text and as file`);
  if (value !== undefined) return Buffer.from(value as string);
  if (!file) return null;
  try {
    return readFileSync(file);
  } catch (error) {
    throw new UsageError(`${what} file ${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function checkAddress(address: string): void {
  if (address.startsWith("unix:")) {
    if (address.slice("unix:".length).replaceAll("/", "")) return;
  } else {
    const { host, port } = split(address);
    if (host && !/[/\s]/.test(host) && /^[0-9]{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65535) {
      // An IPv6 address needs its brackets: without them the port cannot be told from it.
      if (!host.includes(":") || (host.startsWith("[") && host.endsWith("]") && isIPv6(host.slice(1, -1)))) return;
    }
  }
  throw new UsageError(
    `${JSON.stringify(address)} is not an address of a sidecar: give host:port or unix:/path, ` +
      `such as ${DEFAULT_ADDRESS}`,
  );
}

function split(address: string): { host: string; port: string } {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, Math.max(0, colon)), port: address.slice(colon + 1) };
}

function isOnThisMachine(address: string): boolean {
  if (address.startsWith("unix:")) return true;
  const host = split(address).host.replace(/^\[|\]$/g, "");
  if (host === "localhost" || host === "::1") return true;
  return isIP(host) === 4 && host.startsWith("127.");
}
