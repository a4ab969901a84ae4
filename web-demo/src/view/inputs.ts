/**
 * What is played and how: the menu of traces, files, the synthetic load, and the options of a run.
 *
 * It only says what was chosen; opening is up to who listens.
 */
import type { Analyst, DeviceInfo, Input, Plan, RunInfo, RunOptions } from "../model.ts";
import { el, setText } from "./dom.ts";
import { bytes, count, counted, parseBytes } from "./format.ts";

export interface Trace {
  name: string;
  /** File name, for people and for its report. */
  file: string;
  url: string;
}

/** What was chosen. */
export type Choice = { kind: "trace"; trace: Trace } | Input;

export interface InputsListener {
  /** Something else is to be played, or the same in another way. */
  chosen(choice: Choice, options: RunOptions, another: boolean): void;
  closed(): void;
}

const SYNTHETIC = "synthetic";
const FILE = "file";

/** Stops of a slider: `0` is the left end. */
interface Knob {
  label: string;
  stops: readonly number[];
  at: number;
  show: (value: number) => string;
}

const doubling = (from: number, to: number): number[] => {
  const out = [];
  for (let n = from; n <= to; n *= 2) out.push(n);
  return out;
};

const KIB = 1024;
const MIB = 1024 * KIB;
/** What a null of the options is on a slider. */
const NONE = 0;

const KNOBS = {
  streams: { label: "Streams", stops: [NONE, 1, 2, 3, 4, 6, 8, 12, 16, 32], at: 4, show: (n) => (n === NONE ? "those of the file" : count(n)) },
  inFlight: { label: "In flight, operations a stream", stops: [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512], at: 6, show: count },
  slab: { label: "Slab size", stops: [NONE, ...doubling(64 * KIB, 1024 * MIB)], at: 0, show: (n) => (n === NONE ? "as the command does" : bytes(n)) },
  budget: { label: "Budget", stops: [NONE, ...doubling(MIB, 64 * 1024 * MIB)], at: 0, show: (n) => (n === NONE ? "none" : bytes(n)) },
  blocks: { label: "Blocks live at once", stops: [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384], at: 4, show: count },
  minBytes: { label: "Smallest block", stops: doubling(256, 16 * MIB), at: 4, show: bytes },
  maxBytes: { label: "Largest block", stops: doubling(256, 64 * MIB), at: 14, show: bytes },
  events: { label: "Events", stops: [1_000, 5_000, 20_000, 100_000, 500_000, 1_000_000], at: 2, show: count },
} satisfies Record<string, Knob>;

type KnobName = keyof typeof KNOBS;
const LOAD_KNOBS: readonly KnobName[] = ["blocks", "minBytes", "maxBytes", "events"];

export class Inputs {
  readonly element: HTMLElement;
  private readonly menu: HTMLSelectElement;
  private readonly fileOption: HTMLOptionElement;
  private readonly picker: HTMLInputElement;
  private readonly eager: HTMLInputElement;
  private readonly experiment: HTMLInputElement;
  private readonly asIf: HTMLElement;
  private readonly show: HTMLSelectElement;
  private readonly showField: HTMLElement;
  private readonly device: HTMLSelectElement;
  private readonly deviceField: HTMLElement;
  private readonly wait: HTMLInputElement;
  private readonly pool: HTMLSelectElement;
  private readonly backing: HTMLSelectElement;
  private readonly capacity: HTMLInputElement;
  private readonly load: HTMLElement;
  private readonly message: HTMLElement;
  private readonly busy: HTMLElement;
  private readonly busyText: HTMLElement;
  private readonly bar: HTMLProgressElement;
  private readonly closeButton: HTMLButtonElement;
  private readonly values = new Map<KnobName, number>();
  private choice: Choice;
  private seed = 1;
  /** Of the file that is open; null is the one that the command takes. */
  private chosenDevice: number | null = null;
  private drags = 0;

  constructor(
    private readonly traces: readonly Trace[],
    private readonly listener: InputsListener,
  ) {
    const first = traces[0];
    this.choice = first === undefined ? this.synthetic() : { kind: "trace", trace: first };
    this.fileOption = el("option", { value: FILE, hidden: true }, "your file");
    this.menu = el(
      "select",
      { id: "trace", onchange: () => this.choose() },
      ...traces.map((trace, i) => el("option", { value: String(i) }, trace.name)),
      this.fileOption,
      el("option", { value: SYNTHETIC }, "Synthetic load"),
    );
    this.picker = el("input", { type: "file", id: "file", hidden: true, onchange: () => this.picked() });
    // What plays a snapshot's requests in another way is about the pools' run.
    const again = () => {
      this.show.value = "played";
      this.tell(false);
    };
    this.experiment = el("input", {
      type: "checkbox",
      role: "switch",
      id: "experiment",
      onchange: () => {
        this.asIf.hidden = !this.experiment.checked;
        again();
      },
    });
    this.show = el("select", { id: "show", onchange: () => this.tell(false) }, el("option", { value: "recorded" }, "as recorded, PyTorch's own"), el("option", { value: "played" }, "played through Strandline's pools"));
    this.showField = el("label", { hidden: true }, "Shown ", this.show);
    this.device = el("select", {
      id: "device",
      onchange: () => {
        this.chosenDevice = Number(this.device.value);
        this.tell(true);
      },
    });
    this.deviceField = el("label", { hidden: true }, "Device ", this.device);
    this.eager = el("input", { type: "checkbox", role: "switch", id: "eager", onchange: again });
    this.wait = el("input", { type: "checkbox", role: "switch", id: "wait", onchange: again });
    const options = <T extends string>(id: string, all: readonly [T, string][]) =>
      el("select", { id, onchange: again }, ...all.map(([value, name]) => el("option", { value }, name)));
    this.pool = options("pool", [
      ["auto", "chosen by the sizes"],
      ["tlsf", "tlsf"],
      ["fixed", "fixed block"],
      ["arena", "arena"],
      ["passthrough", "passthrough"],
    ]);
    this.backing = options("backing", [
      ["array-buffer", "ArrayBuffers"],
      ["webgpu", "WebGPU buffers: takes GPU memory"],
    ]);
    this.capacity = el("input", { type: "text", id: "capacity", placeholder: "none; 96MiB", spellcheck: false, onchange: again });
    this.load = el("div", { className: "knobs", hidden: true }, ...LOAD_KNOBS.map((name) => this.knob(name)), this.again());
    const field = (label: string, control: HTMLElement) => el("label", { className: "knob" }, el("span", {}, label), control);
    const how = el(
      "details",
      {},
      el("summary", {}, "How it is played"),
      el(
        "div",
        { className: "knobs" },
        field("Pool", this.pool),
        this.knob("slab"),
        this.knob("budget"),
        field("Capacity", this.capacity),
        field("Slabs in", this.backing),
        el("label", { className: "switch" }, this.wait, "Requests may wait"),
      ),
    );
    this.asIf = el("div", { className: "knobs as-if", hidden: true }, this.knob("streams"), this.knob("inFlight"));
    this.closeButton = el("button", { type: "button", className: "quiet-button", id: "close", hidden: true, onclick: () => listener.closed() }, "Close the run");
    this.message = el("p", { className: "message", role: "alert", hidden: true });
    this.bar = el("progress", { max: 1, value: 0, "aria-label": "Reading" });
    this.busyText = el("span");
    this.busy = el("div", { className: "busy", role: "status", hidden: true }, this.bar, this.busyText);
    this.element = el(
      "section",
      { className: "panel inputs", "aria-label": "What is played" },
      el(
        "div",
        { className: "inputs-row" },
        el("label", { for: "trace" }, "Trace "),
        this.menu,
        this.deviceField,
        this.showField,
        el("button", { type: "button", id: "open-file", onclick: () => this.picker.click() }, "Open a file…"),
        this.picker,
        el("label", { className: "switch", title: "An experiment: the trace's requests are dealt out to streams that it does not have, and completion trails submission" }, this.experiment, "As if on several streams"),
        el("label", { className: "switch", title: "Every free neighbour is merged at once, ready or not: what merged then waits for all of it" }, this.eager, "Merge as IREE does"),
        el("span", { className: "grow" }),
        this.closeButton,
      ),
      this.asIf,
      this.load,
      how,
      this.busy,
      this.message,
    );
    this.listenForDrops();
  }

  /** Says what is chosen at first. */
  start(): void {
    this.tell(true);
  }

  /** Reading goes on: a share of it is done, or nobody knows how much. */
  showBusy(text: string | null, done = 0, total = 0): void {
    this.busy.hidden = text === null;
    if (text !== null) setText(this.busyText, text);
    if (total > 0) this.bar.value = done / total;
    else this.bar.removeAttribute("value");
  }

  /** Plays the same once more, through a pool that follows a plan, or none. */
  follow(plan: Plan | null): void {
    if (plan !== null) this.show.value = "played";
    this.listener.chosen(this.choice, plan === null ? this.options : { ...this.options, plan }, false);
  }

  /** What went wrong, for people; null clears it. */
  showMessage(text: string | null): void {
    this.message.hidden = text === null;
    setText(this.message, text ?? "");
  }

  showOpen(info: RunInfo | null, analyst: Analyst | null = null): void {
    this.closeButton.hidden = info === null;
    const snapshot = info?.snapshot;
    this.showField.hidden = snapshot === undefined;
    if (info !== null) this.show.value = info.asRecorded === true ? "recorded" : "played";
    const devices = snapshot?.devices ?? [];
    this.deviceField.hidden = devices.length < 2;
    if (snapshot === undefined || devices.length < 2) return;
    this.device.replaceChildren(...devices.map((device) => el("option", { value: String(device.device) }, deviceText(device, null))));
    this.device.value = String(snapshot.device);
    analyst?.peaks().then(
      (peaks) => devices.forEach((device, i) => setText(this.device.options[i] as HTMLOptionElement, deviceText(device, peaks[i] ?? null))),
      () => undefined,
    );
  }

  private get options(): RunOptions {
    const value = (name: KnobName) => this.values.get(name) ?? NONE;
    const orNull = (name: KnobName) => (value(name) === NONE ? null : value(name));
    return {
      pool: this.pool.value as RunOptions["pool"],
      slabBytes: orNull("slab"),
      capacityBytes: this.capacity.value.trim() === "" ? null : parseBytes(this.capacity.value),
      budgetBytes: orNull("budget"),
      show: this.show.value as RunOptions["show"],
      device: this.chosenDevice,
      streams: this.experiment.checked ? orNull("streams") : null,
      inFlight: this.experiment.checked ? value("inFlight") : 0,
      allowWait: this.wait.checked,
      policy: this.eager.checked ? "eager" : "readiness",
      backing: this.backing.value as RunOptions["backing"],
    };
  }

  private synthetic(): Input {
    const value = (name: KnobName) => this.values.get(name) ?? KNOBS[name].stops[KNOBS[name].at] ?? 0;
    const [a, b] = [value("minBytes"), value("maxBytes")];
    return {
      kind: "synthetic",
      load: { seed: this.seed, blocks: value("blocks"), minBytes: Math.min(a, b), maxBytes: Math.max(a, b), events: value("events") },
    };
  }

  private tell(another: boolean): void {
    if (this.capacity.value.trim() !== "" && parseBytes(this.capacity.value) === null) {
      this.showMessage(`Capacity: "${this.capacity.value}" is not a size; sizes are like 4096, 512KiB or 1.5GiB.`);
      return;
    }
    if (this.choice.kind === "synthetic") this.choice = this.synthetic();
    this.load.hidden = this.choice.kind !== "synthetic";
    this.listener.chosen(this.choice, this.options, another);
  }

  private choose(): void {
    const trace = this.traces[Number(this.menu.value)];
    this.fresh();
    if (this.menu.value === SYNTHETIC) this.choice = this.synthetic();
    else if (trace !== undefined) this.choice = { kind: "trace", trace };
    else return;
    this.tell(true);
  }

  private picked(): void {
    const file = this.picker.files?.[0];
    // The same file may be picked again.
    if (file !== undefined) this.take(file);
    this.picker.value = "";
  }

  /** Another file: its own device, and as it was recorded unless an experiment is on. */
  private fresh(): void {
    this.chosenDevice = null;
    const asked = this.experiment.checked || this.eager.checked || this.wait.checked || this.capacity.value.trim() !== "" || this.pool.value !== "auto";
    this.show.value = asked ? "played" : "recorded";
  }

  private take(file: File): void {
    this.fresh();
    this.choice = { kind: "file", name: file.name, data: file };
    setText(this.fileOption, file.name);
    this.fileOption.hidden = false;
    this.menu.value = FILE;
    this.tell(true);
  }

  private knob(name: KnobName): HTMLElement {
    const { label, stops, at, show } = KNOBS[name];
    const output = el("output", {});
    const range = el("input", { type: "range", id: `knob-${name}`, min: "0", max: String(stops.length - 1), step: "1", value: String(at) });
    const read = () => {
      const value = stops[range.valueAsNumber] ?? 0;
      this.values.set(name, value);
      setText(output, show(value));
      range.setAttribute("aria-valuetext", show(value));
    };
    range.addEventListener("input", read);
    range.addEventListener("change", () => {
      this.show.value = "played";
      this.tell(false);
    });
    read();
    return el("label", { className: "knob" }, el("span", {}, label), output, range);
  }

  /** Another load of the same kind. */
  private again(): HTMLElement {
    return el(
      "button",
      {
        type: "button",
        onclick: () => {
          this.seed++;
          this.tell(true);
        },
      },
      "Another one of this kind",
    );
  }

  private listenForDrops(): void {
    const holdsFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const mark = () => document.body.classList.toggle("dropping", this.drags > 0);
    document.addEventListener("dragenter", (event) => {
      if (!holdsFiles(event)) return;
      this.drags++;
      mark();
    });
    document.addEventListener("dragleave", (event) => {
      if (!holdsFiles(event)) return;
      this.drags--;
      mark();
    });
    document.addEventListener("dragover", (event) => {
      if (holdsFiles(event)) event.preventDefault();
    });
    document.addEventListener("drop", (event) => {
      this.drags = 0;
      mark();
      const [file, ...others] = event.dataTransfer?.files ?? [];
      if (file === undefined) return;
      event.preventDefault();
      this.take(file);
      if (others.length > 0) this.showMessage(`${counted(others.length + 1, "file")} were dropped: ${file.name} is opened. Drop the others one at a time.`);
    });
  }
}

/** A device in the picker: what it allocated at most, and what it refused. */
export function deviceText({ device, refused, stateOnly, entries }: DeviceInfo, peak: number | null): string {
  const what = stateOnly ? "a state, no trace" : counted(entries, "entry", "entries");
  return `${device}: ${what}${peak === null ? "" : `, peak ${bytes(peak)}`}${refused > 0 ? `, ✕ ${counted(refused, "out-of-memory", "out-of-memories")}` : ""}`;
}
