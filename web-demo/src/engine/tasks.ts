/** What a session does once nothing is waited for: one thing after the other, a slice of it at a time. */
import { message } from "./components";

export class Tasks {
  readonly #tasks: (() => boolean)[] = [];
  readonly #wake: () => void;
  #closed = false;

  /** `wake`: there is something to do. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  get some(): boolean {
    return this.#tasks.length > 0;
  }

  /** `task` works for a slice: true when it is done. */
  push(task: () => boolean): void {
    this.#tasks.push(task);
  }

  /** Works at something until there is a result; `failed` gives back what it held. */
  soon<T>(work: () => { done: T } | null, failed: () => void = () => undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      this.push(() => {
        try {
          if (this.#closed) throw new Error("the run is closed");
          const result = work();
          if (result !== null) resolve(result.done);
          return result !== null;
        } catch (error) {
          failed();
          reject(new Error(message(error)));
          return true;
        }
      });
      this.#wake();
    });
  }

  /** Works at the first one for a slice. */
  work(): void {
    if (this.#tasks[0]?.() === true) this.#tasks.shift();
  }

  /** Each learns that there will be nothing. */
  close(): void {
    this.#closed = true;
    for (const task of this.#tasks.splice(0)) task();
  }
}
