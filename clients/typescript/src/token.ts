/** The bearer token that goes with every call: given as text, or read from a file that somebody renews. */

import { readFileSync } from "node:fs";
import { UsageError } from "./errors.js";

/** What can stand in the metadata: gRPC itself refuses anything else with each call, and not in words that help. */
const WRITTEN = /^[\x21-\x7e]+$/;
const FORM = "a token is one line of ASCII characters without spaces";

/** One token, "" for none. */
export class TokenSource {
  // Private to the language, so that no log of a client shows it.
  #text: string;
  readonly #file: string;

  private constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  /** No token. */
  static none(): TokenSource {
    return new TokenSource("", "");
  }

  /** A token as given. @throws {@link UsageError} where it cannot be one. */
  static ofText(text: string): TokenSource {
    if (!WRITTEN.test(text)) throw new UsageError(`what is given as token is none: ${FORM}`);
    return new TokenSource(text, "");
  }

  /** The token in a file, read now. @throws {@link UsageError} where it cannot be read or holds none. */
  static ofFile(file: string): TokenSource {
    return new TokenSource(read(file), file);
  }

  /** The token as last read. */
  get text(): string {
    return this.#text;
  }

  /** Tells whether there is another token than the one that was used, after another look at the file. */
  renewed(used: string): boolean {
    if (this.#file) {
      try {
        this.#text = read(this.#file);
      } catch {
        // The one before may still be good for other calls: the sidecar has said what is wrong with it.
        return false;
      }
    }
    return this.#text !== used;
  }
}

function read(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new UsageError(`token file ${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
  if (!text) throw new UsageError(`token file ${file} is empty`);
  if (!WRITTEN.test(text)) throw new UsageError(`token file ${file} holds no token: ${FORM}`);
  return text;
}
