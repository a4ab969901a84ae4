/** Opens runs: the page's side of a run that lives in a worker of its own. */
import type { Analyst, Failure, Frame, Opener, RunInfo, Series, Source, SourceEvent } from "../model";
import { decodeFrame } from "./decode";
import type { PlanReply, PlanRequest } from "./plan_worker";
import type { Answers, Reply, Request } from "./protocol";

/** How long a worker may take to give everything back before it is ended all the same. */
const CLOSING_MS = 2000;

const EMPTY = { min: new Float64Array(), max: new Float64Array() };
const NOTHING: Series = { event: new Float64Array(), committed: EMPTY, reserved: EMPTY, live: EMPTY, pending: EMPTY };

type Body<W extends Request["what"]> = Omit<Extract<Request, { what: W }>, "id" | "what">;

/** What keeps a run from being opened at all. */
export const NO_WORKERS = "this browser runs no workers, and files are read and runs are played in one: open the page in a current browser, from a server, with nothing that blocks its scripts";

/** A worker, asked by name. */
class Remote {
  readonly #worker: Worker;
  #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  #next = 0;
  #ended: Error | null = null;

  constructor(news: (event: Extract<Reply, { news: unknown }>["news"]) => void) {
    try {
      this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "strandline" });
    } catch {
      throw new Error(NO_WORKERS);
    }
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      if ("news" in data) return news(data.news);
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ("value" in data) waiting?.resolve(data.value as never);
      else waiting?.reject(Object.assign(new Error(data.error.message), { name: data.error.name }));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.end(new Error(`the worker failed: ${event.message || "it could not be loaded"}`));
    };
  }

  ask<W extends Request["what"]>(what: W, body: Body<W>): Promise<Answers[W]> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const id = ++this.#next;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, what, ...body });
    });
  }

  end(why: Error): void {
    if (this.#ended !== null) return;
    this.#ended = why;
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(why);
    this.#waiting.clear();
  }
}

/** A search for a plan, in a worker that ends with it. Returns what stops it. */
function searchPlan(request: PlanRequest, ...[told, failed]: [Parameters<Analyst["plan"]>[1], Parameters<Analyst["plan"]>[2]]): () => void {
  const worker = new Worker(new URL("./plan_worker.ts", import.meta.url), { type: "module", name: "strandline plan" });
  let running = true;
  const end = () => {
    running = false;
    worker.terminate();
  };
  worker.onmessage = ({ data }: MessageEvent<PlanReply>) => {
    if (!running) return;
    if ("error" in data) {
      end();
      failed(new Error(data.error));
      return;
    }
    if (data.news.ended) end();
    told(data.news);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    if (!running) return;
    end();
    failed(new Error(`the worker failed: ${event.message || "it could not be loaded"}`));
  };
  worker.postMessage(request);
  return end;
}

/** A run in a worker. */
class WorkerSource implements Source {
  #remote: Remote;
  #info: RunInfo | null = null;
  #series = NOTHING;
  #failure: Failure | null = null;
  /** Where the slabs are, and why: told while the run was being opened, before anyone could listen. */
  #backing: Extract<SourceEvent, { type: "backing" }> | null = null;
  #listeners = new Set<(event: SourceEvent) => void>();
  #newest: { reject: (error: Error) => void } | null = null;
  /** The handles that were left when it was closed. */
  #left: Record<string, number> | null = null;
  #closing: Promise<void> | null = null;

  /** What is played: for a search beside it. */
  #played: Pick<PlanRequest, "input" | "device"> | null = null;
  #stopSearch: () => void = () => undefined;

  readonly analyst: Analyst;

  constructor(opening: Parameters<Opener>[2]) {
    this.#remote = new Remote((news) => {
      if (news.type === "opening") return opening(news.done, news.total, news.unit);
      if (news.type === "series") this.#series = news.series;
      if (news.type === "failure") this.#failure = news.failure;
      if (news.type === "backing") {
        this.#backing = news;
        if (this.#info !== null) this.#info = { ...this.#info, backing: news.backing };
      }
      for (const listener of this.#listeners) listener(news);
    });
    const remote = this.#remote;
    this.analyst = {
      stacks: () => remote.ask("stacks", {}),
      peak: () => remote.ask("peak", {}),
      peaks: () => remote.ask("peaks", {}),
      diff: (name, data) => remote.ask("diff", { name, data }),
      recording: (event) => remote.ask("recording", { event }),
      overTime: (view) => remote.ask("overTime", { view }),
      plan: (limit, told, failed) => {
        if (this.#played === null) throw new Error("the run is not open");
        this.#stopSearch();
        return (this.#stopSearch = searchPlan({ ...this.#played, limit }, told, failed));
      },
      place: (plan) => remote.ask("place", { plan }),
      planned: (view) => remote.ask("planned", { view }),
      holders: (event, by) => remote.ask("holders", { event, by }),
      life: (row) => remote.ask("life", { row }),
      filter: (filter) => remote.ask("filter", { filter }),
      pinners: (event) => remote.ask("pinners", { event }),
      rules: () => remote.ask("rules", {}),
      compare: (capacity) => remote.ask("compare", { capacity }),
    };
  }

  async open(...[input, options]: Parameters<Opener>): Promise<this> {
    try {
      const info = await this.#remote.ask("open", { input, options });
      this.#info = options.plan === undefined ? info : { ...info, plan: options.plan };
      this.#played = { input, device: info.snapshot?.device ?? options.device };
      return this;
    } catch (error) {
      this.#remote.end(new Error("the run was not opened"));
      throw error;
    }
  }

  get info(): RunInfo {
    if (this.#info === null) throw new Error("the run is not open");
    return this.#info;
  }

  frame(event: number): Promise<Frame> {
    this.#newest?.reject(Object.assign(new Error("a newer instant was asked for"), { name: "AbortError" }));
    return new Promise((resolve, reject) => {
      const mine = { reject };
      this.#newest = mine;
      this.#remote.ask("frame", { event: Math.max(0, Math.floor(event)) }).then(
        ({ packed, ...columns }) => {
          if (this.#newest === mine) this.#newest = null;
          resolve({ ...decodeFrame(packed), ...columns });
        },
        reject,
      );
    });
  }

  series(): Series {
    return this.#series;
  }

  failure(): Failure | null {
    return this.#failure;
  }

  async report(): Promise<Record<string, unknown> | null> {
    if (this.#closing !== null) return null;
    return this.#remote.ask("report", {});
  }

  listen(listener: (event: SourceEvent) => void): () => void {
    this.#listeners.add(listener);
    if (this.#backing !== null) listener(this.#backing);
    return () => this.#listeners.delete(listener);
  }

  async handles(): Promise<Record<string, number>> {
    if (this.#closing !== null) {
      await this.#closing;
      return { ...this.#left };
    }
    return this.#remote.ask("handles", {});
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = new Error("the run is closed");
    this.#stopSearch();
    this.#newest?.reject(Object.assign(closed, { name: "AbortError" }));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<null>((resolve) => (timer = setTimeout(resolve, CLOSING_MS, null)));
    // A worker that does not answer in time is in the middle of something long, and all it has ends with it.
    this.#left = await Promise.race([this.#remote.ask("close", {}).catch(() => null), late]);
    clearTimeout(timer);
    this.#remote.end(closed);
    this.#listeners.clear();
  }
}

/** Reads an input and makes a run of it, in a worker. See `Opener`. */
export const open: Opener = (input, options, progress) => new WorkerSource(progress).open(input, options, progress);
