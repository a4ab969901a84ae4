/** The worker of one run: everything that takes time happens here. */
import playerCore from "./generated/player/player.core.wasm?url";
import playerCore2 from "./generated/player/player.core2.wasm?url";
import playerCore3 from "./generated/player/player.core3.wasm?url";
import substrateCore from "./generated/substrate/substrate.core.wasm?url";
import substrateCore2 from "./generated/substrate/substrate.core2.wasm?url";
import substrateCore3 from "./generated/substrate/substrate.core3.wasm?url";
import type { Answers, Reply, Request } from "./protocol";
import { Session, type News } from "./session";

const CORES: Record<string, string> = {
  "player.core.wasm": playerCore,
  "player.core2.wasm": playerCore2,
  "player.core3.wasm": playerCore3,
  "substrate.core.wasm": substrateCore,
  "substrate.core2.wasm": substrateCore2,
  "substrate.core3.wasm": substrateCore3,
};

async function core(file: string): Promise<WebAssembly.Module> {
  const url = CORES[file];
  if (url === undefined) throw new Error(`the components need ${file}, which the page was built without`);
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${file}: the server answered ${response.status} ${response.statusText}`);
  // Not every static host knows what a .wasm file is.
  if (response.headers.get("content-type") === "application/wasm") return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** Lets messages in: a message to oneself comes after those that wait already. Timers would be held back where the page is hidden. */
const channel = new MessageChannel();
const resting: (() => void)[] = [];
channel.port1.onmessage = () => resting.shift()?.();
function rest(): Promise<void> {
  return new Promise((resolve) => {
    resting.push(resolve);
    channel.port2.postMessage(null);
  });
}

/** Reads synchronously, which only workers can; not among the types of a page. */
declare class FileReaderSync {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}

function post(reply: Reply, transfer: Transferable[] = []): void {
  (self as unknown as Worker).postMessage(reply, transfer);
}

/** The bytes of a file, synchronously. */
function reading(data: Blob): (offset: number, length: number) => Uint8Array {
  const files = new FileReaderSync();
  return (offset, length) => {
    try {
      return new Uint8Array(files.readAsArrayBuffer(data.slice(offset, offset + length)));
    } catch (error) {
      throw new Error(`the browser cannot read the file any more (${error instanceof Error ? error.name : "it may have changed"})`);
    }
  };
}

let session: Session | null = null;

async function answer(request: Request): Promise<Answers[keyof Answers]> {
  if (request.what === "open") {
    const { input, options } = request;
    const tell = (news: News) => post({ news });
    const bytes = input.kind === "file" ? reading(input.data) : () => new Uint8Array();
    const size = input.kind === "file" ? { size: input.data.size } : {};
    session = await Session.open({ core, bytes, now: () => performance.now(), rest, ...size }, input, options, tell);
    return session.info;
  }
  if (session === null) throw new Error("no run is open");
  switch (request.what) {
    case "frame":
      return session.look(request.event);
    case "stacks":
      return session.stacks();
    case "peak":
      return session.peak();
    case "peaks":
      return session.peaks();
    case "diff":
      return session.diff(request.name, reading(request.data));
    case "recording":
      return session.recording(request.event);
    case "overTime":
      return session.overTime(request.view);
    case "holders":
      return session.holders(request.event, request.by);
    case "life":
      return session.life(request.row);
    case "filter":
      return session.filter(request.filter);
    case "pinners":
      return session.pinners(request.event);
    case "rules":
      return session.rules();
    case "compare":
      return session.compare(request.capacity);
    case "report":
      return session.report();
    case "handles":
      return session.handles();
    case "close":
      session.close();
      return session.handles();
  }
}

/** Columns are handed over, not copied. */
function transferable(value: Answers[keyof Answers]): Transferable[] {
  if (value === null || typeof value !== "object") return [];
  if (value instanceof Uint8Array) return [value.buffer as ArrayBuffer];
  const columns = ["packed", "rows", "matched", "words"].map((name) => (value as unknown as Record<string, unknown>)[name]);
  return columns.flatMap((column) => (ArrayBuffer.isView(column) ? [column.buffer as ArrayBuffer] : []));
}

self.onmessage = (event: MessageEvent<Request>) => {
  const { id } = event.data;
  answer(event.data).then(
    (value) => post({ id, value }, transferable(value)),
    (error: unknown) => {
      const { name, message } = error instanceof Error ? error : new Error(String(error));
      post({ id, error: { name, message } });
    },
  );
};
