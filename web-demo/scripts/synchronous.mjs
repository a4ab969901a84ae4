// Takes out of jco's generated code what calls without async functions do not need.
//
// Since 1.12 each call of a component makes an async task, looks for its parent, and reads the environment for a log, also where nothing is
// async. Neither of our components has an async function. Left in is all that lifts and lowers values, handles, traps and errors; taken out are
//
//   the log                       _debugLog(…);
//   tasks of calls                const [task, …] = createNewCurrentTask({…})      an inert task stands for all of them
//   who is current meanwhile      _withGlobalCurrentTaskMeta({…, fn: f})           f()
//   promises of imports           _trackHostOperation(() => f())                   f()
//   tasks of imports              let trampolineN = …_lowerImportBackwardsCompat.bind(null, {…})      the function that it binds
//
// Every pattern is counted: code that looks otherwise is refused, with the name of the pattern.

/** The position behind the bracket that closes the one at `open`. */
export function closing(code, open) {
  let depth = 0;
  for (let at = open; at < code.length; at++) {
    const letter = code[at];
    if (letter === "'" || letter === '"' || letter === "`") {
      for (at++; code[at] !== letter; at++) if (code[at] === "\\") at++;
    } else if (letter === "/" && code[at + 1] === "/") at = code.indexOf("\n", at);
    else if (letter === "/" && code[at + 1] === "*") at = code.indexOf("*/", at) + 1;
    else if ("([{".includes(letter)) depth++;
    else if (")]}".includes(letter) && --depth === 0) return at + 1;
  }
  throw new Error("a bracket of the generated code is not closed");
}

/** Replaces each call that begins with `begin`, an identifier and its bracket, by what `by` makes of its arguments. */
function calls(code, begin, by) {
  let out = "";
  let from = 0;
  let count = 0;
  for (let at = code.indexOf(begin); at >= 0; at = code.indexOf(begin, from)) {
    const open = at + begin.length - 1;
    // Another name that ends so, the function itself, or a comment.
    const line = code.slice(code.lastIndexOf("\n", at) + 1, at);
    const called = !/[\w$.]$|function\s+$|\/\//.test(line);
    const end = called ? closing(code, open) : open;
    const replaced = called ? by(code.slice(open + 1, end - 1)) : null;
    if (replaced === null) {
      out += code.slice(from, open + 1);
      from = open + 1;
      continue;
    }
    count++;
    out += code.slice(from, at) + replaced;
    from = end;
  }
  return { code: out + code.slice(from), count };
}

/** Stands for the task of every call: nothing waits for it, nothing is told of it. */
const INERT = `const SYNCHRONOUS = {
  id: () => 0, componentIdx: () => 0, enterSync: () => true, isResolvedState: () => true, isExited: () => true,
  setCalleeIsAsync() {}, setReturnMemoryIdx() {}, setReturnMemory() {}, setErrored() {}, resolve() {}, reject() {}, exit() {},
};
`;

/** The code without what only async calls need. `name` is for errors. */
export function synchronous(code, name) {
  const none = (pattern) => {
    throw new Error(`${name}: the generated code has no ${pattern}: has jco changed?`);
  };
  if (/funcTypeIsAsync: true|_withGlobalCurrentTaskMetaAsync\(\{\s*taskID: task\.id/.test(code)) throw new Error(`${name}: a function is async`);
  const replaced = (pattern, by) => {
    const before = code;
    code = code.replace(pattern, by);
    if (code === before) none(pattern);
  };
  const without = (begin, by) => {
    let all = 0;
    // Some stand within another one.
    for (let more = 1; more > 0; all += more) ({ code, count: more } = calls(code, begin, by));
    if (all === 0) none(begin);
  };
  without("_debugLog(", () => "void 0");
  // Imports first: their way to a task is longer.
  replaced(/const hostProvided = true;[^]*?const started = task\.enterSync\(\);/g, (block) => {
    if (!block.includes("isAsync: false")) throw new Error(`${name}: an import is async`);
    return "const task = SYNCHRONOUS;";
  });
  replaced(/const \[task, _wasm_call_currentTaskID\] = createNewCurrentTask\(\{\s*componentIdx: 0,\s*isAsync: false,[^]*?\}\);/g, "const task = SYNCHRONOUS;");
  replaced(/CURRENT_TASK_MAY_BLOCK\.value = task\.mayBlock\(\) \? 1 : 0;/g, "");
  without("_withGlobalCurrentTaskMeta(", (args) => {
    const at = args.indexOf("fn:");
    return at < 0 ? null : `(${args.slice(at + 3).replace(/,?\s*\}\s*$/, "")})()`;
  });
  without("_trackHostOperation(", (args) => `(${args})()`);
  replaced(/let trampoline(\d+) = _trampoline\1\.manuallyAsync \? new WebAssembly\.Suspending\([^]*?importFn: _trampoline\1,\s*\},\s*\)\)\) : _lowerImportBackwardsCompat\.bind\([^]*?importFn: _trampoline\1,\s*\},\s*\);/g, "let trampoline$1 = _trampoline$1;");
  // What keeps calls out of a component that trapped: looked up in a map at each call.
  replaced(/function getOrCreateAsyncState\(componentIdx, init\) \{\s*if \(!ASYNC_STATE\.has\(componentIdx\)\) \{/, "let firstState;\nfunction getOrCreateAsyncState(componentIdx, init) {\nif (componentIdx === 0) return firstState ??= lookAsyncState(0);\nreturn lookAsyncState(componentIdx);\n}\nfunction lookAsyncState(componentIdx) {\nif (!ASYNC_STATE.has(componentIdx)) {");
  replaced(/if \(0\s*!== null\) \{\s*task\.setReturnMemoryIdx\(0\);\s*task\.setReturnMemory\(\(\(\) => memory0\)\(\)\);\s*\}/g, "");
  if (/= createNewCurrentTask\(\{\s*componentIdx: -?\d/.test(code)) throw new Error(`${name}: a call still makes a task: has jco changed?`);
  return INERT + code;
}
