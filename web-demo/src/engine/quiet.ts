/** Who does what takes seconds at a time waits until nobody has asked for anything for a while: an answer would have to wait for it. */

/** Nobody asked for so long, in milliseconds. */
const QUIET_MS = 400;
/** It waits only so long. */
const MOST_MS = 10_000;

export class Quiet {
  readonly #now: () => number;
  #askedAt = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Somebody asks for something that is shown. */
  asked(): void {
    this.#askedAt = this.#now();
  }

  /** Waits for it, unless `ended` says that there is no need any more. */
  async come(ended: () => boolean): Promise<void> {
    const give = this.#now() + MOST_MS;
    while (!ended() && this.#now() < Math.min(give, this.#askedAt + QUIET_MS)) await new Promise((resolve) => setTimeout(resolve, QUIET_MS / 10));
  }
}
