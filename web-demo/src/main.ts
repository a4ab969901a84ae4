/** The page: what is chosen above, its picture below. One run is open at a time. */
import resnet from "../../traces/resnet50_train.csv.gz?url";
import bert from "../../traces/bert_train.csv.gz?url";
import vit from "../../traces/vit_infer.csv.gz?url";
import gpt2 from "../../traces/gpt2_generate.csv.gz?url";
import azure from "../../traces/azure_llm_code_2023.csv.gz?url";
import page from "../../replay/assets/viewer.html?url";
import { open } from "./engine/open.ts";
import type { Input, RunOptions, Source } from "./model.ts";
import { el, setText } from "./view/dom.ts";
import { bytes, count, counted } from "./view/format.ts";
import { Inputs, type Choice, type Trace } from "./view/inputs.ts";
import { Viewer } from "./view/viewer.ts";
import "./view/style.css";

const TRACES: readonly Trace[] = [
  { name: "ResNet-50, training", file: "resnet50_train.csv.gz", url: resnet },
  { name: "BERT, training", file: "bert_train.csv.gz", url: bert },
  { name: "ViT, inference", file: "vit_infer.csv.gz", url: vit },
  { name: "GPT-2, generation", file: "gpt2_generate.csv.gz", url: gpt2 },
  { name: "Azure LLM serving (code), as a KV cache", file: "azure_llm_code_2023.csv.gz", url: azure },
];

const root = document.querySelector("main") as HTMLElement;
const left = el("p", { className: "quiet", id: "left", role: "status" });
let source: Source | null = null;
/** Counts openings: of several under way, the newest stays. */
let newest = 0;

const inputs = new Inputs(TRACES, {
  chosen: (choice, options, another) => void play(choice, options, another),
  closed: () => {
    newest++;
    inputs.showBusy(null);
    void close();
  },
});
root.append(
  el("header", { className: "masthead" }, el("h1", {}, "Strandline"), el("p", { className: "lead" }, "Drop a PyTorch memory snapshot, an RMM log or another allocation trace anywhere on this page: see its peak, the lines that hold it, why a request was refused, and what to paste. Nothing is uploaded.")),
  inputs.element,
  left,
);
const viewer = new Viewer(
  root,
  async () => (await fetch(page)).text(),
  (plan) => inputs.follow(plan),
);
inputs.start();

async function read(choice: Choice): Promise<Input> {
  if (choice.kind !== "trace") return choice;
  const { file, url } = choice.trace;
  const response = await fetch(url).catch(() => {
    throw new Error(`${file} could not be loaded: see whether the page's server is there, or open a file of your own`);
  });
  if (!response.ok) throw new Error(`${file}: the server answered ${response.status} ${response.statusText}`);
  return { kind: "file", name: file, data: await response.blob() };
}

async function play(choice: Choice, options: RunOptions, another: boolean): Promise<void> {
  const mine = ++newest;
  const at = another ? null : viewer.event;
  inputs.showMessage(null);
  viewer.element.classList.add("stale");
  inputs.showBusy("reading");
  try {
    const opened = await open(await read(choice), options, (done, total, unit) => {
      if (mine === newest) inputs.showBusy(progressText(done, total, unit), done, total);
    });
    if (mine !== newest) {
      await opened.close();
      return;
    }
    const old = source;
    source = opened;
    setText(left, "");
    viewer.setSource(opened, at ?? opened.info.first ?? 0);
    inputs.showOpen(opened.info, opened.analyst ?? null);
    await old?.close();
  } catch (error) {
    if (mine === newest) inputs.showMessage(remedied(error instanceof Error ? error.message : String(error)));
  } finally {
    if (mine === newest) {
      inputs.showBusy(null);
      viewer.element.classList.remove("stale");
    }
  }
}

function progressText(done: number, total: number, unit: "event" | "byte" | "configuration"): string {
  const share = total > 0 ? `${Math.min(100, Math.floor((100 * done) / total))} % of ` : "";
  if (unit === "byte") return `reading: ${share}${bytes(total)}`;
  if (unit === "configuration") return `choosing pools: ${count(done)} of ${counted(total, "configuration")}`;
  return total > 0 ? `reading: ${share}${counted(total, "event")}` : `reading: ${counted(done, "event")}`;
}

/** What the command's remedies are called on the page. */
function remedied(text: string): string {
  return text
    .replace("ask for one of these (--device N), or leave --device out", "choose one of these as the device")
    .replace(/ ?\(--lenient\)/, " with the command: strandline replay --lenient");
}

/** Closes the run, and says how many handles are left: none, unless something leaks. */
async function close(): Promise<void> {
  const old = source;
  if (old === null) return;
  source = null;
  viewer.setSource(null);
  inputs.showOpen(null);
  await old.close();
  const handles = await old.handles();
  const total = Object.values(handles).reduce((sum, n) => sum + n, 0);
  left.dataset["handles"] = String(total);
  setText(left, `Closed: ${counted(total, "handle")} left.`);
}
