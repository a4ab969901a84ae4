/** Moving through a run: buttons, speed, the number of the event, and keys. */
import { SPEEDS, type Speed } from "./clock.ts";
import { el, icon, setText } from "./dom.ts";
import { count } from "./format.ts";

export interface TransportListener {
  seek(event: number): void;
  step(by: number): void;
  toggle(): void;
  end(): void;
  speed(speed: Speed): void;
}

export class Transport {
  readonly element: HTMLElement;
  private readonly playButton: HTMLButtonElement;
  private readonly number: HTMLInputElement;
  private readonly ofEvents: HTMLElement;

  constructor(listener: TransportListener) {
    this.playButton = el("button", { type: "button", className: "play", onclick: () => listener.toggle(), title: "Play or pause (space)" }, "Play");
    this.number = el("input", {
      type: "number",
      min: "0",
      step: "1",
      value: "0",
      "aria-label": "Event",
      className: "event",
      onchange: () => listener.seek(this.number.valueAsNumber || 0),
    });
    this.ofEvents = el("span", { className: "quiet" });
    const speed = el(
      "select",
      { "aria-label": "Speed", onchange: () => listener.speed(speed.value === "fit" ? "fit" : Number(speed.value)) },
      el("option", { value: "fit" }, "all in 20 s"),
      ...SPEEDS.map((rate) => el("option", { value: String(rate) }, `${count(rate)} events/s`)),
    );
    this.element = el(
      "div",
      { className: "transport", role: "group", "aria-label": "Moving through the run" },
      el("button", { type: "button", title: "To the beginning (Home)", "aria-label": "To the beginning", onclick: () => listener.seek(0) }, icon("M3 2v12M13 2L5 8l8 6z")),
      el("button", { type: "button", title: "One back (,)", "aria-label": "One instant back", onclick: () => listener.step(-1) }, icon("M11 2L4 8l7 6")),
      this.playButton,
      el("button", { type: "button", title: "One on (.)", "aria-label": "One instant on", onclick: () => listener.step(1) }, icon("M5 2l7 6-7 6")),
      el("button", { type: "button", title: "To the end (End)", "aria-label": "To the end", onclick: () => listener.end() }, icon("M13 2v12M3 2l8 6-8 6z")),
      speed,
      el("label", { className: "event-field" }, "event ", this.number, this.ofEvents),
    );
  }

  setEvents(events: number): void {
    setText(this.ofEvents, ` of ${count(events)}`);
    this.number.max = String(events);
  }

  /** The instant that is shown; whoever types another one is left alone. */
  at(event: number): void {
    if (document.activeElement !== this.number) this.number.value = String(event);
  }

  showPlaying(playing: boolean): void {
    setText(this.playButton, playing ? "Pause" : "Play");
    this.playButton.setAttribute("aria-pressed", String(playing));
  }
}

/** Does what a key stands for, and keeps the key from anyone else. */
export function actOnKey(event: KeyboardEvent, keys: Record<string, () => void>): void {
  const act = keys[event.key];
  if (act === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}
