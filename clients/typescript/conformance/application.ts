/** What an application's function does with a target in a case: succeeds, or fails as SDKs and Node fail. */

import type { PlanTarget } from "@turnout/client";

/** What happens at one target. */
export interface Script {
  readonly ok?: { readonly input_tokens?: number; readonly output_tokens?: number };
  readonly http_status?: number;
  readonly retry_after?: string | number;
  readonly timeout?: boolean;
  readonly connection?: boolean;
  readonly stream_then?: Script;
  readonly bug?: boolean;
}

/** An HTTP error as SDKs throw it. */
class HttpStatusError extends Error {
  readonly status: number;
  readonly headers: Headers;

  constructor(status: number, headers: Record<string, string>) {
    super(`HTTP ${status}`);
    this.status = status;
    this.headers = new Headers(headers);
  }
}

/** Plays the scripts of one case, by target name or "*", and notes who was called. */
export class Application {
  readonly called: string[] = [];
  readonly #scripts: Readonly<Record<string, Script>>;

  constructor(scripts: Readonly<Record<string, Script>> = {}) {
    this.#scripts = scripts;
  }

  /** Does with a target what its script says; a target without one succeeds. */
  readonly call = async (target: PlanTarget): Promise<void> => {
    this.called.push(target.name);
    play(this.#scripts[target.name] ?? this.#scripts["*"] ?? {}, target);
  };
}

function play(script: Script, target: PlanTarget): void {
  if (script.stream_then !== undefined) {
    target.firstToken();
    play(script.stream_then, target);
  } else if (script.http_status !== undefined) {
    throw new HttpStatusError(
      script.http_status,
      script.retry_after === undefined ? {} : { "retry-after": String(script.retry_after) },
    );
  } else if (script.timeout) {
    throw new DOMException("the provider was silent", "TimeoutError");
  } else if (script.connection) {
    // As fetch fails: what happened stands in the cause.
    throw new TypeError("fetch failed", {
      cause: Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET", syscall: "read" }),
    });
  } else if (script.bug) {
    throw new TypeError("Cannot read properties of undefined (reading 'a mistake of the application')");
  } else {
    target.usage({ inputTokens: script.ok?.input_tokens, outputTokens: script.ok?.output_tokens });
  }
}
