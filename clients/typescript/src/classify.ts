/**
 * Tells the failure kind of an exception that an application got from a provider, without importing anybody's SDK.
 *
 * What is looked at: status codes by duck typing, the provider's error codes, Node's and undici's own codes, and for
 * the official SDKs, whose connection errors have none of those, their class names. Everything else is UNKNOWN.
 */

import { FailureKind } from "./gen/turnout/v1/router_pb.js";

/** How many causes of an exception are looked at: SDKs wrap two or three deep. */
const MAX_DEPTH = 8;
const MAX_RETRY_AFTER_SECONDS = 3600;

/** How a call failed. `retryAfterSeconds` is what the provider asked for, 0 to 3,600. */
export interface Failure {
  readonly kind: FailureKind;
  readonly httpStatus?: number | undefined;
  readonly retryAfterSeconds?: number | undefined;
}

/** What the sidecar takes a status for; other 5xx are SERVER_ERROR, other 4xx UNKNOWN. */
export const KINDS_BY_STATUS: ReadonlyMap<number, FailureKind> = new Map([
  [400, FailureKind.INVALID_REQUEST],
  [401, FailureKind.AUTHENTICATION],
  [402, FailureKind.QUOTA_EXHAUSTED],
  [403, FailureKind.PERMISSION_DENIED],
  [404, FailureKind.MODEL_NOT_FOUND],
  [407, FailureKind.CONNECTION],
  [408, FailureKind.TIMEOUT],
  [410, FailureKind.MODEL_NOT_FOUND],
  [411, FailureKind.INVALID_REQUEST],
  [413, FailureKind.CONTEXT_LENGTH],
  [414, FailureKind.INVALID_REQUEST],
  [415, FailureKind.INVALID_REQUEST],
  [422, FailureKind.INVALID_REQUEST],
  [429, FailureKind.RATE_LIMITED],
  [431, FailureKind.INVALID_REQUEST],
  [498, FailureKind.OVERLOADED],
  [503, FailureKind.OVERLOADED],
  [529, FailureKind.OVERLOADED],
]);

/** The providers' own error codes and types, where they say more than the status. */
export const KINDS_BY_CODE: ReadonlyMap<string, FailureKind> = new Map([
  ["authentication_error", FailureKind.AUTHENTICATION],
  ["billing_error", FailureKind.QUOTA_EXHAUSTED],
  ["billing_hard_limit_reached", FailureKind.QUOTA_EXHAUSTED],
  ["billing_not_active", FailureKind.QUOTA_EXHAUSTED],
  ["capacity_exceeded", FailureKind.OVERLOADED],
  ["content_filter", FailureKind.CONTENT_FILTERED],
  ["content_policy_violation", FailureKind.CONTENT_FILTERED],
  ["context_length_exceeded", FailureKind.CONTEXT_LENGTH],
  ["credit_balance_exhausted", FailureKind.QUOTA_EXHAUSTED],
  ["enforced_spend_limit_reached", FailureKind.QUOTA_EXHAUSTED],
  ["engine_overloaded_error", FailureKind.OVERLOADED],
  ["exceeded_current_quota_error", FailureKind.QUOTA_EXHAUSTED],
  ["insufficient_quota", FailureKind.QUOTA_EXHAUSTED],
  ["invalid_api_key", FailureKind.AUTHENTICATION],
  ["model_not_found", FailureKind.MODEL_NOT_FOUND],
  ["overloaded_error", FailureKind.OVERLOADED],
  ["rate_limit_error", FailureKind.RATE_LIMITED],
  ["rate_limit_exceeded", FailureKind.RATE_LIMITED],
  ["request_too_large", FailureKind.CONTEXT_LENGTH],
  ["server_is_overloaded", FailureKind.OVERLOADED],
  ["slow_down", FailureKind.OVERLOADED],
]);

/** For a 400 whose code says nothing more: all that the provider gives is its message. */
const KINDS_BY_PHRASE: readonly (readonly [string, FailureKind])[] = [
  // anthropic, 400: "prompt is too long: 210000 tokens > 200000 maximum"
  ["prompt is too long", FailureKind.CONTEXT_LENGTH],
  // anthropic, 400: "Your credit balance is too low to access the Anthropic API."
  ["credit balance is too low", FailureKind.QUOTA_EXHAUSTED],
];

/** `code` of errors of Node's sockets, name resolution and HTTP client, and of undici, which is behind fetch. */
const KINDS_BY_SYSTEM_CODE: ReadonlyMap<string, FailureKind> = new Map([
  ["ETIMEDOUT", FailureKind.TIMEOUT],
  ["ESOCKETTIMEDOUT", FailureKind.TIMEOUT],
  ["UND_ERR_CONNECT_TIMEOUT", FailureKind.TIMEOUT],
  ["UND_ERR_HEADERS_TIMEOUT", FailureKind.TIMEOUT],
  ["UND_ERR_BODY_TIMEOUT", FailureKind.TIMEOUT],
  ["ECONNREFUSED", FailureKind.CONNECTION],
  ["ECONNRESET", FailureKind.CONNECTION],
  ["ECONNABORTED", FailureKind.CONNECTION],
  ["EPIPE", FailureKind.CONNECTION],
  ["ENOTFOUND", FailureKind.CONNECTION],
  ["EAI_AGAIN", FailureKind.CONNECTION],
  ["EAI_FAIL", FailureKind.CONNECTION],
  ["EHOSTUNREACH", FailureKind.CONNECTION],
  ["ENETUNREACH", FailureKind.CONNECTION],
  ["ENETDOWN", FailureKind.CONNECTION],
  ["EHOSTDOWN", FailureKind.CONNECTION],
  ["EPROTO", FailureKind.CONNECTION],
  ["UND_ERR_SOCKET", FailureKind.CONNECTION],
  ["UND_ERR_CLOSED", FailureKind.CONNECTION],
  ["CERT_HAS_EXPIRED", FailureKind.CONNECTION],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", FailureKind.CONNECTION],
  ["SELF_SIGNED_CERT_IN_CHAIN", FailureKind.CONNECTION],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", FailureKind.CONNECTION],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", FailureKind.CONNECTION],
]);

/** Whole families of such codes, by their beginning. */
const KINDS_BY_SYSTEM_PREFIX: readonly (readonly [string, FailureKind])[] = [
  ["ERR_TLS_", FailureKind.CONNECTION],
  ["ERR_SSL_", FailureKind.CONNECTION],
  ["HPE_", FailureKind.PROTOCOL],
];

/** By class: the official SDKs' own, which carry no code. Looked up along the prototypes, nearest first. */
const KINDS_BY_CLASS: ReadonlyMap<string, FailureKind> = new Map([
  ["APIUserAbortError", FailureKind.CANCELLED],
  ["APIConnectionTimeoutError", FailureKind.TIMEOUT],
  ["APIConnectionError", FailureKind.CONNECTION],
]);

type Fields = Readonly<Record<string, unknown>>;

/**
 * Returns the failure that an exception or one of its causes tells of.
 *
 * @param nowWall - seconds since the epoch, for `Retry-After` dates
 */
export function classify(error: unknown, nowWall: number): Failure {
  for (const cause of causes(error)) {
    if (cause["name"] === "AbortError" || cause["code"] === "ABORT_ERR") return { kind: FailureKind.CANCELLED };
    const httpStatus = statusOf(cause);
    if (httpStatus !== undefined) {
      return {
        kind: kindOfStatus(httpStatus, cause),
        httpStatus,
        retryAfterSeconds: retryAfter(cause, nowWall),
      };
    }
    const kind = kindOfCode(cause) ?? kindOfSystem(cause) ?? kindOfClass(cause);
    if (kind !== undefined) return { kind };
  }
  return { kind: FailureKind.UNKNOWN };
}

function* causes(error: unknown): Generator<Fields> {
  let current = error;
  for (let depth = 0; depth < MAX_DEPTH && isObject(current); depth += 1) {
    yield current;
    // Where every address of a host was tried, each has its own error, and the first speaks for them.
    const first = Array.isArray(current["errors"]) ? (current["errors"] as unknown[])[0] : undefined;
    current = current["cause"] ?? first;
  }
}

/** Returns an HTTP error status: of the exception (openai, anthropic, got) or of its response (axios, wrappers). */
function statusOf(error: Fields): number | undefined {
  const response = isObject(error["response"]) ? error["response"] : {};
  for (const value of [error["status"], error["statusCode"], response["status"], response["statusCode"]]) {
    if (typeof value === "number" && Number.isInteger(value) && value >= 400 && value <= 599) return value;
  }
  return undefined;
}

function kindOfStatus(status: number, error: Fields): FailureKind {
  const kind = kindOfCode(error);
  if (kind !== undefined) return kind;
  if (status === 400) {
    const text = String(error["message"] ?? "");
    const found = KINDS_BY_PHRASE.find(([phrase]) => text.includes(phrase));
    if (found !== undefined) return found[1];
  }
  return KINDS_BY_STATUS.get(status) ?? (status >= 500 ? FailureKind.SERVER_ERROR : FailureKind.UNKNOWN);
}

/** Looks at `code` and `type` of the error and of the bodies that SDKs carry in it. */
function kindOfCode(error: Fields): FailureKind | undefined {
  const response = isObject(error["response"]) ? error["response"] : {};
  const bodies = [error, error["error"], error["body"], error["data"], response["data"]].filter(isObject);
  for (const source of [...bodies, ...bodies.map((body) => body["error"]).filter(isObject)]) {
    for (const name of ["code", "type"]) {
      const value = source[name];
      const kind = typeof value === "string" ? KINDS_BY_CODE.get(value) : undefined;
      if (kind !== undefined) return kind;
    }
  }
  return undefined;
}

function kindOfSystem(error: Fields): FailureKind | undefined {
  const code = error["code"];
  if (typeof code === "string") {
    const kind =
      KINDS_BY_SYSTEM_CODE.get(code) ?? KINDS_BY_SYSTEM_PREFIX.find(([start]) => code.startsWith(start))?.[1];
    if (kind !== undefined) return kind;
  }
  return error["name"] === "TimeoutError" ? FailureKind.TIMEOUT : undefined;
}

function kindOfClass(error: Fields): FailureKind | undefined {
  for (let at: unknown = Object.getPrototypeOf(error); isObject(at); at = Object.getPrototypeOf(at)) {
    const name = (at["constructor"] as { name?: unknown } | undefined)?.name;
    const kind = typeof name === "string" ? KINDS_BY_CLASS.get(name) : undefined;
    if (kind !== undefined) return kind;
  }
  return undefined;
}

function retryAfter(error: Fields, nowWall: number): number | undefined {
  const response = isObject(error["response"]) ? error["response"] : {};
  const headers = [response["headers"], error["headers"]].find(isObject);
  if (headers === undefined) return undefined;
  const milliseconds = plainNumber(header(headers, "retry-after-ms"));
  if (milliseconds !== undefined) return Math.min(milliseconds / 1000, MAX_RETRY_AFTER_SECONDS);
  const value = header(headers, "retry-after");
  if (value === undefined) return undefined;
  // Not a plain number: a date, where it is one.
  const seconds = plainNumber(value) ?? Date.parse(value) / 1000 - nowWall;
  return Number.isNaN(seconds) || seconds < 0 ? undefined : Math.min(seconds, MAX_RETRY_AFTER_SECONDS);
}

/** Reads a header from fetch's `Headers`, or from a plain object whatever the case of its names. */
function header(headers: Fields, name: string): string | undefined {
  const get = headers["get"];
  const value: unknown =
    typeof get === "function"
      ? get.call(headers, name)
      : Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined;
}

function plainNumber(value: string | undefined): number | undefined {
  return value !== undefined && /^[0-9]+(\.[0-9]*)?$/.test(value.trim()) ? Number(value) : undefined;
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null;
}
