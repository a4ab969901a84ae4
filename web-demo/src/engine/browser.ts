/** What the workers of a page have and node has not: core modules from their addresses, files that are read synchronously, turns of the loop. */
import playerCore from "./generated/player/player.core.wasm?url";
import playerCore2 from "./generated/player/player.core2.wasm?url";
import playerCore3 from "./generated/player/player.core3.wasm?url";
import substrateCore from "./generated/substrate/substrate.core.wasm?url";
import substrateCore2 from "./generated/substrate/substrate.core2.wasm?url";
import substrateCore3 from "./generated/substrate/substrate.core3.wasm?url";

const CORES: Record<string, string> = {
  "player.core.wasm": playerCore,
  "player.core2.wasm": playerCore2,
  "player.core3.wasm": playerCore3,
  "substrate.core.wasm": substrateCore,
  "substrate.core2.wasm": substrateCore2,
  "substrate.core3.wasm": substrateCore3,
};

/** A core module by its file's name. */
export async function core(file: string): Promise<WebAssembly.Module> {
  const url = CORES[file];
  if (url === undefined) throw new Error(`the components need ${file}, which the page was built without`);
  const response = await fetch(url).catch(() => {
    throw new Error(`${file}, a part of this page, could not be loaded: see whether its server is there, and reload the page`);
  });
  if (!response.ok) throw new Error(`${file}: the server answered ${response.status} ${response.statusText}`);
  // Not every static host knows what a .wasm file is.
  if (response.headers.get("content-type") === "application/wasm") return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** Lets messages in: a message to oneself comes after those that wait already. Timers would be held back where the page is hidden. */
const channel = new MessageChannel();
const resting: (() => void)[] = [];
channel.port1.onmessage = () => resting.shift()?.();
export function rest(): Promise<void> {
  return new Promise((resolve) => {
    resting.push(resolve);
    channel.port2.postMessage(null);
  });
}

/** Reads synchronously, which only workers can; not among the types of a page. */
declare class FileReaderSync {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}

/** The bytes of a file, synchronously. */
export function reading(data: Blob): (offset: number, length: number) => Uint8Array {
  const files = new FileReaderSync();
  return (offset, length) => {
    try {
      return new Uint8Array(files.readAsArrayBuffer(data.slice(offset, offset + length)));
    } catch (error) {
      throw new Error(`the browser cannot read the file any more (${error instanceof Error ? error.name : "it may have changed"})`);
    }
  };
}
