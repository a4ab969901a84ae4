/** The worker of one run: everything that takes time happens here. */
import { core, reading, rest } from "./browser";
import type { Answers, Reply, Request } from "./protocol";
import { Session, type News } from "./session";

function post(reply: Reply, transfer: Transferable[] = []): void {
  (self as unknown as Worker).postMessage(reply, transfer);
}

let session: Session | null = null;

async function answer(request: Request): Promise<Answers[keyof Answers]> {
  if (request.what === "open") {
    const { input, options } = request;
    const tell = (news: News) => post({ news });
    const bytes = input.kind === "file" ? reading(input.data) : () => new Uint8Array();
    const size = input.kind === "file" ? { size: input.data.size } : {};
    session = await Session.open({ core, bytes, now: () => performance.now(), rest, ...size }, input, options, tell);
    const { info } = session;
    // A copy is handed over: the page's thread would be held up by millions of them.
    return typeof info.instants === "string" ? info : { ...info, instants: info.instants.slice() };
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
    case "planned":
      return session.planned(request.view);
    case "place":
      return session.place(request.plan);
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
  const columns = ["packed", "rows", "matched", "planned", "words", "instants"].map((name) => (value as unknown as Record<string, unknown>)[name]);
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
