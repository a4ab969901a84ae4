/** What is typed to find blocks, what a call stack does, and what is compared of two runs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { roleOf } from "../../src/engine/filter";
import { CATEGORIES, isMomentary, type RuleRun, type Series } from "../../src/model";
import { points, topOf } from "../../src/view/curves";
import { parseQuery, PLACEHOLDER, quotedLine, SYNTAX } from "../../src/view/query";
import { compared, decides } from "../../src/view/rules";

const MIB = 2 ** 20;

function terms(text: string) {
  const parsed = parseQuery(text);
  assert.ok("terms" in parsed, JSON.stringify(parsed));
  return parsed.terms;
}

test("a search is read word by word", () => {
  assert.deepEqual(terms("  "), []);
  assert.deepEqual(terms("adam.py  size:>1MiB -stream:0 category:Kept,large"), [
    { not: false, kind: "line", text: "adam.py" },
    { not: false, kind: "size", least: MIB + 1, most: Number.MAX_SAFE_INTEGER },
    { not: true, kind: "stream", stream: 0 },
    { not: false, kind: "category", any: ["kept", "large"] },
  ]);
  // A colon that belongs to a line's name, and names with spaces.
  assert.deepEqual(terms('optim.py:31 "my file.py:3 step"'), [
    { not: false, kind: "line", text: "optim.py:31" },
    { not: false, kind: "line", text: "my file.py:3 step" },
  ]);
  assert.deepEqual(terms(`-${quotedLine("a b.py:3 f")} size:"1MiB..2MiB"`), [
    { not: true, kind: "line", text: "a b.py:3 f" },
    { not: false, kind: "size", least: MIB, most: 2 * MIB },
  ]);
  // What is not closed yet is still being typed.
  assert.deepEqual(terms('line:"my fi'), [{ not: false, kind: "line", text: "my fi" }]);
  assert.deepEqual(terms('""'), []);
});

test("what cannot be read says what can", () => {
  for (const [text, fault] of [
    ["size:what", /sizes are like 4MiB/],
    ["size:", /./],
    ["stream:x", /a stream is a number/],
    ["category:toString", /categories are forward, backward/],
    ["category:,", /categories are/],
    ["a size:2..1", /sizes are like/],
  ] as const) {
    const parsed = parseQuery(text);
    if (text === "size:") {
      // Without a value the word is a part of a name.
      assert.deepEqual(parsed, { terms: [{ not: false, kind: "line", text: "size:" }] });
    } else assert.ok("fault" in parsed && fault.test(parsed.fault), `${text}: ${JSON.stringify(parsed)}`);
  }
});

test("the placeholder, the help and every category can be typed as they stand", () => {
  assert.equal(terms(PLACEHOLDER).length, 4);
  for (const [word] of SYNTAX) assert.equal(terms(word).length, 1, word);
  for (const category of Object.keys(CATEGORIES)) assert.equal(isMomentary({ terms: terms(`category:${category}`), key: null }), category === "pins");
});

test("a call stack is an optimizer's, the backward pass's, or the forward one's", () => {
  const nn = "/torch/nn/modules/module.py:1751 _call_impl";
  assert.equal(roleOf(["/torch/optim/adamw.py:100 step", "train.py:7 main"]), "optimizer");
  assert.equal(roleOf(["/torch/autograd/graph.py:829 _engine_run_backward", "/torch/_tensor.py:648 backward"]), "backward");
  assert.equal(roleOf(["model.py:3 forward", nn]), "forward");
  assert.equal(roleOf(["/torch/optim/sgd.py:3 step", "/torch/_tensor.py:648 backward"]), "optimizer");
  assert.equal(roleOf(["model.py:9 forward_all", "optimal.py:1 main"]), null);
  assert.equal(roleOf([]), null);
});

function series(live: number[], committed: number[]): Series {
  const both = (values: number[]) => ({ min: Float64Array.from(values), max: Float64Array.from(values) });
  return { event: Float64Array.from(live, (_, i) => 10 * i), committed: both(committed), reserved: both(live), live: both(live), pending: both(live) };
}

test("curves have one axis, whatever run is higher", () => {
  const low = { series: series([0, 10], [20, 20]), of: "committed", className: "" } as const;
  const high = { series: series([0, 40, 20], [50, 50, 80]), of: "live", className: "" } as const;
  assert.equal(topOf([low, high]), 40);
  assert.equal(topOf([high, low]), 40);
  assert.equal(points(low, 40), "0.0,60.0 900.0,60.0");
  assert.equal(points(high, 40), "0.0,120.0 450.0,0.0 900.0,60.0");
});

test("rules of merging decide something if bytes are reserved or requests wait differently", () => {
  const run = (reserved: number, waited: number, pending = 5): RuleRun => ({
    report: { memory: { peak_reserved_bytes: reserved }, pool: { peak_pending_bytes: pending }, reuse: { waited, missed: 3, stalled: 0 } },
    series: series([0], [0]),
  });
  assert.equal(decides({ readiness: run(10, 1), eager: run(10, 1, 6) }), false);
  assert.equal(decides({ readiness: run(10, 1), eager: run(9, 1) }), true);
  assert.equal(decides({ readiness: run(10, 1), eager: run(10, 2) }), true);
  assert.deepEqual(compared({ readiness: run(10, 1), eager: run(7, 4) }).map(({ a, b }) => [a, b]), [[10, 7], [5, 5], [1, 4], [3, 3], [0, 0]]);
});
