/** Who does what takes seconds at a time waits until nobody has asked for anything for a while: an answer would have to wait for it. */

/** Nobody asked for so long, in milliseconds, and longer where there is more to do. */
const QUIET_MS = 400;
/** Of fewer blocks, what is done later is done soon. */
const MANY = 50_000;
/** Blocks with which it takes a second at a time, about. */
const A_SECOND = 250_000;
/** It waits only so many times as long. */
const MOST = 20;

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

  /** Waits for it, unless `ended` says that there is no need any more. Of so many blocks an answer would have to wait long. */
  async come(blocks: number, ended: () => boolean): Promise<void> {
    if (blocks < MANY) return;
    const quiet = QUIET_MS * (1 + blocks / A_SECOND);
    const give = this.#now() + MOST * quiet;
    while (!ended() && this.#now() < Math.min(give, this.#askedAt + quiet)) await new Promise((resolve) => setTimeout(resolve, QUIET_MS / 10));
  }
}
