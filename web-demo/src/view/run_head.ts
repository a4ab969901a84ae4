/** What a run is: its title and facts, where its slabs are, the handles that it holds, and why it ended early. */
import type { Backing, Failure, RunInfo, Source } from "../model.ts";
import { el, setText } from "./dom.ts";
import { bytes, count, counted } from "./format.ts";

/** Between two looks at the handles, in milliseconds. */
const HANDLES_MS = 250;

const BACKINGS: Record<Backing, string> = {
  webgpu: "Slabs are WebGPU buffers",
  "array-buffer": "Slabs are ArrayBuffers",
  numbers: "Slabs are numbers",
  recorded: "As recorded",
};

export class RunHead {
  readonly element: HTMLElement;
  readonly failure: HTMLElement;
  private readonly title = el("h2", {});
  private readonly facts = el("p", { className: "run-facts" });
  private readonly backing = el("span", { className: "chip backing" });
  private readonly handles = el("span", { className: "chip handles", title: "live handles of the component and of the GPU" });
  private readonly saveButton: HTMLButtonElement;
  private readonly failureText = el("p", {});
  private source: Source | null = null;
  private handlesAt = 0;

  constructor(toFailure: () => void, save: () => void) {
    this.saveButton = el("button", { type: "button", className: "quiet-button", hidden: true, onclick: save }, "Save as one HTML file");
    this.element = el("header", { className: "run" }, el("div", {}, this.title, this.facts), el("div", { className: "chips" }, this.backing, this.handles, this.saveButton));
    this.failure = el(
      "section",
      { className: "failure", role: "alert", hidden: true },
      this.failureText,
      el("button", { type: "button", onclick: toFailure }, "Show that instant"),
    );
  }

  /** Another run, or none. */
  setRun(source: Source | null, canBeSaved: boolean): void {
    this.source = source;
    this.handlesAt = 0;
    this.saveButton.hidden = !canBeSaved;
    setText(this.title, source?.info.title ?? "");
    setText(this.facts, "");
    if (source !== null) this.showBacking(source.info.backing, "");
  }

  describe(info: RunInfo): void {
    const made = info.synthesized ? " (made up: the trace has one)" : "";
    const some = info.instants !== "every" && info.asRecorded !== true;
    const recorded = some ? ` · ${counted(info.instants.length, "instant")} recorded` : "";
    const device = info.snapshot === undefined ? "" : ` · device ${info.snapshot.device}`;
    setText(
      this.facts,
      `${info.format}${device} · ${counted(info.events, "event")} · ${counted(info.streams, "stream")}${made} · ${info.pools.length === 1 ? "pool" : "pools"} ${info.pools.join(", ")}${recorded}`,
    );
  }

  showBacking(backing: Backing, why: string): void {
    setText(this.backing, `${BACKINGS[backing]}${why === "" ? "" : ` – ${why}`}`);
    this.backing.dataset["backing"] = backing;
  }

  /** Handles are counted by the source; asking is cheap but not free. */
  showHandles(): void {
    const { source } = this;
    const now = performance.now();
    if (source === null || now - this.handlesAt < HANDLES_MS) return;
    this.handlesAt = now;
    source.handles().then(
      (handles) => {
        if (source !== this.source) return;
        const total = Object.values(handles).reduce((sum, n) => sum + n, 0);
        this.handles.hidden = total === 0;
        setText(this.handles, counted(total, "handle"));
        this.handles.title = Object.entries(handles)
          .map(([kind, n]) => `${kind}: ${count(n)}`)
          .join("\n");
      },
      () => {
        this.handles.hidden = true;
      },
    );
  }

  saving(busy: boolean): void {
    this.saveButton.disabled = busy;
  }

  /** Why the run, or the recorded one, could not go on; null where it could. */
  fail(failure: Failure | null, asRecorded: boolean): void {
    this.failure.hidden = failure === null;
    if (failure === null) return;
    // Events count from 1, entries from 0.
    const { event, bytesRequested, liveBytes, largestHoleBytes, pendingBytes, reason } = failure;
    const hole = (largestHoleBytes as number | null) === null ? "not told" : bytes(largestHoleBytes);
    this.failureText.replaceChildren(
      el("strong", {}, asRecorded ? `Out of memory at entry ${count(event - 1)}. ` : `Event ${count(event)} could not be satisfied. `),
      `${reason.replace(/\.?$/, ".")} `,
      el("span", { className: "quiet" }, `${bytes(bytesRequested)} asked for; ${bytes(liveBytes)} allocated, the largest hole ${hole}, ${bytes(pendingBytes)} pending.`),
    );
  }
}
