/** What is taken out of jco's code, and that code that looks otherwise is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
// @ts-expect-error a script of the build, without types
import { closing, synchronous } from "../../scripts/synchronous.mjs";

/** One export and one import as jco 1.35 writes them, in short; `run` counts what is called. */
const CODE = `
const _debugLog = (...args) => { logged.push(args); };
// _debugLog('not closed (', {
const ASYNC_STATE = new Map();
function getOrCreateAsyncState(componentIdx, init) {
  if (!ASYNC_STATE.has(componentIdx)) { ASYNC_STATE.set(componentIdx, { throwIfTrapped() {}, markTrapped() {} }); }
  return ASYNC_STATE.get(componentIdx);
}
function createNewCurrentTask(args) { made.push(args); return [{}, 1]; }
function _withGlobalCurrentTaskMeta(args) { made.push(args); return args.fn(); }
function _trackHostOperation(operation) { made.push(operation); return operation(); }
const _lowerImportBackwardsCompat = function (args, ...rest) { made.push(args); return args.importFn(...rest); };
const _trampoline3 = function (arg0) {
  const hostProvided = true;
  let task;
  const createTask = () => {
    const results = createNewCurrentTask({
      componentIdx: -1,
      isAsync: false,
    });
    task = results[0];
  };
  createTask();
  const started = task.enterSync();
  const ret = _withGlobalCurrentTaskMeta({
    componentIdx: task.componentIdx(),
    taskID: task.id(),
    fn: () => _trackHostOperation(() => twice(arg0)),
  });
  _debugLog(\`[import] \${ret} )\`, { ret });
  return ret;
};
let trampoline3 = _trampoline3.manuallyAsync ? new WebAssembly.Suspending(_suspendingImport(0, _lowerImportBackwardsCompat.bind(
null,
{
  funcTypeIsAsync: false,
  importFn: _trampoline3,
},
))) : _lowerImportBackwardsCompat.bind(
null,
{
  funcTypeIsAsync: false,
  importFn: _trampoline3,
},
);
function exported(arg1) {
  getOrCreateAsyncState(0).throwIfTrapped();
  const [task, _wasm_call_currentTaskID] = createNewCurrentTask({
    componentIdx: 0,
    isAsync: false,
    callingWasmExport: true,
  });
  const started = task.enterSync();
  CURRENT_TASK_MAY_BLOCK.value = task.mayBlock() ? 1 : 0;

  if (0!== null) {
    task.setReturnMemoryIdx(0);
    task.setReturnMemory((() => memory0)());
  }
  return _withGlobalCurrentTaskMeta({
    taskID: task.id(),
    componentIdx: task.componentIdx(),
    fn: () => {
      _debugLog('[export] (not a bracket', { arg1 });
      const ret = _withGlobalCurrentTaskMeta({
        taskID: task.id(),
        componentIdx: task.componentIdx(),
        fn: () => trampoline3(arg1) + 1,
      });
      task.resolve([ret]);
      return ret;
    },
  });
}
`;

test("calls do what they did, without a task, a log or a promise", () => {
  const after = synchronous(CODE, "sample") as string;
  const made: unknown[] = [];
  const logged: unknown[] = [];
  const run = new Function("made", "logged", "twice", `${after}\nreturn exported;`) as (made: unknown[], logged: unknown[], twice: (n: number) => number) => (n: number) => number;
  assert.equal(run(made, logged, (n) => 2 * n)(20), 41);
  assert.deepEqual([made, logged], [[], []]);
});

test("code that looks otherwise is refused, and so is what is async", () => {
  assert.throws(() => synchronous("const nothing = 1;", "sample"), /sample: the generated code has no _debugLog.*has jco changed/);
  assert.throws(() => synchronous(CODE.replaceAll("importFn: _trampoline3", "importFunction: _trampoline3"), "sample"), /has jco changed/);
  assert.throws(() => synchronous(CODE.replace("isAsync: false,\n    });", "isAsync: true,\n    });"), "sample"), /an import is async/);
  assert.throws(() => synchronous(CODE.replace("funcTypeIsAsync: false", "funcTypeIsAsync: true"), "sample"), /a function is async/);
  assert.throws(() => synchronous(CODE.replace("const [task, _wasm_call_currentTaskID]", "const [ours, _wasm_call_currentTaskID]"), "sample"), /has jco changed/);
});

test("brackets in strings and comments are none", () => {
  const code = "f('(', \"[\\\"(\", `)${1})`, /* ( */ { a: 1 } // (\n) + 1";
  assert.equal(code.slice(closing(code, 1)), " + 1");
  assert.throws(() => closing("f((", 1), /not closed/);
});
