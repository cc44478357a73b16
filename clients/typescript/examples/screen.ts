/** Text on a terminal that can be taken back. */

/** Where the text goes. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

const CLEAR_TO_END = "\x1b[J";
const DIM = "\x1b[2m";
const PLAIN = "\x1b[0m";

/** Shows text as it comes. On a terminal what was shown can be erased; anywhere else a line says that it is void. */
export class Screen {
  readonly #output: Output;
  /** How many rows above the cursor the text begins, and where in its row the cursor stands. */
  #rows = 0;
  #column = 0;
  #lastCharacter = "\n";

  constructor(output: Output) {
    this.#output = output;
  }

  /** Shows more text. */
  write(text: string): void {
    this.#output.write(text);
    const columns = this.#output.columns ?? 80;
    for (const character of text) {
      if (character === "\n") {
        this.#rows += 1;
        this.#column = 0;
      } else {
        // A terminal breaks the line with the character that no longer fits.
        if (this.#column >= columns) {
          this.#rows += 1;
          this.#column = 0;
        }
        this.#column += 1;
      }
      this.#lastCharacter = character;
    }
  }

  /** Takes back everything shown so far, and says why. */
  takeBack(why: string): void {
    if (this.#output.isTTY) {
      const up = this.#rows > 0 ? `\x1b[${this.#rows}A` : "";
      this.#output.write(`\r${up}${CLEAR_TO_END}${DIM}[${why}]${PLAIN}\n`);
    } else {
      this.end();
      this.#output.write(`[${why}; what stands above is void]\n`);
    }
    this.#rows = 0;
    this.#column = 0;
    this.#lastCharacter = "\n";
  }

  /** Ends the last line. */
  end(): void {
    if (this.#lastCharacter !== "\n") this.write("\n");
  }
}
