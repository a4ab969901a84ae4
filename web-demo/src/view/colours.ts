/** What the colours of the slabs mean, and by what they are given: states, or streams. */
import { el } from "./dom.ts";
import { KIND_TEXT, style, swatch, type Theme } from "./palette.ts";

/** First of the colours of streams, which stands for all of them in the legend. */
const A_STREAM = 6;

export class Colours {
  readonly choice: HTMLElement;
  readonly legend = el("ul", { className: "legend" });
  by: "state" | "stream" = "state";

  constructor(changed: () => void) {
    this.choice = el(
      "fieldset",
      { className: "segmented" },
      el("legend", {}, "Colour by"),
      ...(["state", "stream"] as const).map((by) =>
        el(
          "label",
          {},
          el("input", {
            type: "radio",
            name: "colour-by",
            value: by,
            checked: by === "state",
            onchange: () => {
              this.by = by;
              changed();
            },
          }),
          el("span", {}, by),
        ),
      ),
    );
  }

  /** Gives `root` the patterns of a theme, and names them in the legend. */
  show(root: HTMLElement, theme: Theme): void {
    for (let kind = 0; kind < KIND_TEXT.length; kind++) {
      root.style.setProperty(`--kind-${kind}`, swatch(theme, style(this.by === "state" ? kind : A_STREAM, kind, false)));
    }
    this.legend.replaceChildren(
      ...KIND_TEXT.map(({ name, means }, kind) =>
        el("li", { title: means }, el("span", { className: `swatch kind-${kind}`, "aria-hidden": "true" }), el("b", {}, name), el("span", { className: "quiet" }, means)),
      ),
    );
  }
}
