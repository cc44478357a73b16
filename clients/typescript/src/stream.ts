/** An answer while it comes: read it, end it early, begin again where that is allowed. */

import { onAbort } from "./abort.js";
import { Answer } from "./answer.js";
import type { Calls, Prepared } from "./calls.js";
import { ContractError, RestartedError, TurnoutError, UsageError } from "./errors.js";
import { Gatherer, NOT_WHOLE } from "./gather.js";
import type { Decision, ExecuteStreamResponse, Part } from "./gen/turnout/v1/router_pb.js";
import { EXECUTE_STREAM } from "./rpcs.js";
import type { StatusContext } from "./status.js";

/** How the text of a stream is read. */
export interface TextOptions {
  /**
   * Called when the answer begins again on another target (only under MidStreamPolicy.RESTART), so that what was shown
   * can be taken back. Without it that is a {@link RestartedError}.
   */
  readonly onRestart?: () => void;
}

/**
 * An answer while it comes. Iterate over the contract's events, or over `text()`; `answer()` reads on to the end.
 *
 * The call begins when the first event is asked for. Leaving a loop early, or `close()`, ends the call, and the
 * provider's with it. A stream ends with a complete answer or throws: a short answer never looks complete.
 */
export class Stream implements AsyncIterable<ExecuteStreamResponse> {
  readonly #calls: Calls;
  readonly #prepared: Prepared;
  readonly #signal: AbortSignal | undefined;
  readonly #closing = new AbortController();
  readonly #events: AsyncGenerator<ExecuteStreamResponse, void, undefined>;
  #gatherer = new Gatherer();
  #error: unknown;

  /** Made by `Client.stream`. */
  constructor(calls: Calls, prepare: (signal: AbortSignal) => Prepared, signal: AbortSignal | undefined) {
    this.#calls = calls;
    this.#signal = signal;
    this.#prepared = prepare(this.#closing.signal);
    this.#events = this.#read();
  }

  /** The decision, once it has come. */
  get decision(): Decision | undefined {
    return this.#gatherer.decision;
  }

  /** The text that has come, of the attempt that counts. */
  get textSoFar(): string {
    return this.#gatherer.text;
  }

  /** All that has come, of the attempt that counts; after an error, what was delivered of an answer not whole. */
  get partsSoFar(): readonly Part[] {
    return this.#gatherer.parts;
  }

  /** Yields the text in pieces. */
  async *text(options: TextOptions = {}): AsyncGenerator<string, void, undefined> {
    let given = false;
    for await (const { event } of this) {
      if (event.case === "restart" && given) {
        if (options.onRestart === undefined) {
          throw new RestartedError(
            "the text so far is void, the answer began again: pass onRestart to begin again too",
          );
        }
        given = false;
        options.onRestart();
      }
      if (event.case === "delta" && event.value.content.case === "text" && event.value.content.value) {
        given = true;
        yield event.value.content.value;
      }
    }
  }

  /** Reads what is left and returns the complete answer, the same as `execute` does. */
  async answer(): Promise<Answer> {
    for await (const _ of this) {
      // Read to the end: the gatherer keeps what counts.
    }
    if (this.#error !== undefined) throw this.#error;
    if (this.#gatherer.completion === undefined) {
      throw new UsageError("the stream was left before its end: it has no answer");
    }
    return new Answer(this.#gatherer.response());
  }

  /** Ends the call; harmless after its end. Whoever is reading then gets an AbortError. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#events.return();
  }

  [Symbol.asyncIterator](): AsyncGenerator<ExecuteStreamResponse, void, undefined> {
    return this.#events;
  }

  /** The same as `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async *#read(): AsyncGenerator<ExecuteStreamResponse, void, undefined> {
    const abort = (): void => {
      this.#closing.abort(this.#signal?.reason);
    };
    if (this.#signal?.aborted) abort();
    const forget = onAbort(this.#signal, abort);
    try {
      for (;;) {
        try {
          yield* this.#once();
          return;
        } catch (error) {
          // Complete before the connection failed: nothing is lost.
          if (this.#gatherer.completion !== undefined && !(error instanceof ContractError)) return;
          if (this.#gatherer.hasContent) throw error;
          await this.#calls.waitAfter(error, this.#prepared);
          this.#gatherer = new Gatherer();
        }
      }
    } catch (error) {
      this.#error = error;
      throw error;
    } finally {
      forget();
      this.#closing.abort();
    }
  }

  async *#once(): AsyncGenerator<ExecuteStreamResponse, void, undefined> {
    for await (const message of this.#calls.stream(EXECUTE_STREAM.method, this.#prepared, () => this.#context())) {
      let seen: boolean;
      try {
        seen = this.#gatherer.add(message);
      } catch (error) {
        throw error instanceof TurnoutError ? new ContractError(error.message, this.#context()) : error;
      }
      // A failure is seen as the error that follows it; kinds of a newer contract are skipped.
      if (seen && message.event.case !== "failure" && message.event.case !== undefined) yield message;
    }
    if (this.#gatherer.completion === undefined) throw new ContractError(NOT_WHOLE, this.#context());
  }

  #context(): StatusContext {
    return {
      callFailure: this.#gatherer.failure,
      partial: { text: this.#gatherer.text, parts: this.#gatherer.parts },
    };
  }
}
