import assert from "node:assert/strict";
import { test } from "node:test";
import { childOf, childrenFrom, childrenOf, findAll, NotJson, pathTo, rootOf, stringAt, type JsonNode } from "../src/lib/payload/json-index.ts";
import { isScanned, scan, SCANNED_FROM, SLICE_STEPS } from "../src/lib/payload/json-scan.ts";
import { Random } from "./random.ts";

function anyJson(random: Random, depth: number): unknown {
  const kind = random.below(depth > 0 ? 7 : 5);
  if (kind === 0) return null;
  if (kind === 1) return random.below(2) === 0;
  if (kind === 2) return random.below(2_000_000) / 7 - 1000;
  if (kind <= 4) return Array.from({ length: random.below(6) }, () => random.pick(['"', "\\", "é", "🐼", "a", "\n", "{", "]", ",", "\ud800"])).join("");
  if (kind === 5) return Array.from({ length: random.below(5) }, () => anyJson(random, depth - 1));
  return Object.fromEntries(Array.from({ length: random.below(5) }, () => [String(anyJson(random, 0)), anyJson(random, depth - 1)]));
}

/** The value as the index reads it, from slices alone. */
function readBack(text: string, node: JsonNode): unknown {
  if (node.kind === "string") return stringAt(text, node);
  if (node.kind === "number" || node.kind === "literal") return JSON.parse(text.slice(node.start, node.end));
  const { children } = childrenOf(text, node);
  if (node.kind === "array") return children.map((child) => readBack(text, child));
  return Object.fromEntries(children.map((child) => [child.key, readBack(text, child)]));
}

test("the index reads what a parser reads", () => {
  for (let seed = 0; seed < 500; seed++) {
    const random = new Random(seed);
    const value = anyJson(random, 4);
    const text = JSON.stringify(value, null, random.pick([0, 2, "\t"]));
    assert.deepEqual(readBack(text, rootOf(text)), JSON.parse(text), `seed ${seed}`);
  }
});

test("numbers are the digits that were sent", () => {
  const text = '{"a": 1.0, "b": 1e2, "c": 0.10, "d": 107505301260286111}';
  const shown = childrenOf(text, rootOf(text)).children.map((child) => text.slice(child.start, child.end));
  assert.deepEqual(shown, ["1.0", "1e2", "0.10", "107505301260286111"]);
});

test("of a key that is there twice, the last value counts", () => {
  const text = '{"a": 1, "a": 2}';
  assert.equal(childOf(text, rootOf(text), "a")?.start, text.indexOf("2"));
});

test("children come in parts", () => {
  const text = JSON.stringify(Array.from({ length: 1234 }, (_, index) => index));
  const root = rootOf(text);
  const first = childrenOf(text, root, 500);
  assert.equal(first.children.length, 500);
  assert.notEqual(first.next, null);
  const rest = childrenOf(text, root, Infinity, first.next!, 500);
  assert.equal(rest.children.length, 734);
  assert.equal(rest.children[0]!.key, 500);
  assert.equal(rest.next, null);
});

test("10,000 levels are no deeper than one", () => {
  const text = "[".repeat(10_000) + "]".repeat(10_000);
  assert.equal(childrenOf(text, rootOf(text)).children.length, 1);
});

test("invalid JSON is refused with its place", () => {
  for (const text of ["", "{", '{"a" 1}', "[1,,2]", "nul", '"open', "1 2", "{]"]) {
    assert.throws(() => readBack(text, rootOf(text)), NotJson, text);
  }
});

test("found places lead to their path", () => {
  const text = '{"a": [1, {"needle": "x"}], "b": {"c": "a needle"}}';
  const root = rootOf(text);
  const paths = findAll(text, "NEEDLE", 10).map((at) => pathTo(text, root, at).map((one) => one.key));
  assert.deepEqual(paths, [["a", 1, "needle"], ["b", "c"]]);
  assert.deepEqual(findAll("İİ needle", "NEEDLE", 10), [3]);
  assert.deepEqual(findAll("aaa", "aa", 10), [0, 1]);
});

/** Scans to the end; the number of pauses. */
function scanned(text: string): number {
  let pauses = 0;
  for (const _ of scan(text)) pauses++;
  assert.ok(isScanned(text));
  return pauses;
}

/** Long texts, which are read by their scan. */
function long(random: Random): string {
  const items = Array.from({ length: 3000 }, () => anyJson(random, 3));
  const value = random.pick<unknown>([items, { first: 1, items, last: [items.slice(0, 1500)] }, Object.fromEntries(items.map((one, index) => [`k"${index}`, one]))]);
  const text = JSON.stringify(value, null, random.pick([0, 1]));
  return text + " ".repeat(Math.max(0, SCANNED_FROM - text.length));
}

test("a scanned text reads as before", () => {
  for (let seed = 0; seed < 8; seed++) {
    const random = new Random(seed);
    const text = long(random);
    const unscanned = readBack(text, rootOf(text));
    scanned(text);
    assert.deepEqual(readBack(text, rootOf(text)), unscanned, `seed ${seed}`);
    const root = rootOf(text);
    const { children } = childrenOf(text, root);
    for (let n = 0; n < 20; n++) {
      const from = random.below(children.length + 2);
      assert.deepEqual(childrenFrom(text, root, from, 7).children, children.slice(from, from + 7), `seed ${seed}, from ${from}`);
      const index = random.below(children.length);
      assert.equal(pathTo(text, root, children[index]!.start)[0]!.index, index);
    }
  }
});

test("a scan pauses after each slice, whatever the text is made of", () => {
  const million = 1_000_000;
  const texts = {
    numbers: `[${"1,".repeat(million)}1]`,
    objects: `[${"{},".repeat(million)}{}]`,
    nested: `${"[".repeat(million)}${"]".repeat(million)}`,
    strings: `[${'"a",'.repeat(million)}"a"]`,
    escapes: `["${'\\"'.repeat(million)}"]`,
    open: `[${'"'.repeat(million)}`,
  };
  for (const [what, text] of Object.entries(texts)) {
    const steps = what === "strings" ? 3 * million : what === "escapes" || what === "open" ? million / 2 : text.length;
    assert.ok(scanned(text) >= Math.floor(steps / SLICE_STEPS), what);
  }
  const root = rootOf(texts.numbers);
  assert.equal(childrenFrom(texts.numbers, root, 999_990, 100).children.length, 11);
});
