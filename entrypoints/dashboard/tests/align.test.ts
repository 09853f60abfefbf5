import assert from "node:assert/strict";
import { test } from "node:test";
import { align, type Alignment, type Side } from "../src/lib/align.ts";
import { differences, signed } from "../src/lib/compare.ts";
import type { TraceOutline } from "../src/lib/outline.ts";
import { buildTree } from "../src/lib/tree.ts";
import { Random } from "./random.ts";

/** A trace of these parents and words. */
function side(parents: readonly number[], words: readonly string[]): Side {
  const zeros = new Array<number>(parents.length).fill(0);
  const tree = buildTree({
    span_id: parents.map(String),
    parent: parents,
    name: zeros,
    kind: zeros,
    status: zeros,
    start_us: parents.map((_, index) => index),
    latency_us: zeros,
  });
  return { tree, word: (row) => words[tree.span[row]!]! };
}

function anySide(random: Random, size: number, words: string): Side {
  const parents = Array.from({ length: size }, (_, index) => (index === 0 || random.below(6) === 0 ? -1 : random.below(index)));
  return side(parents, parents.map(() => words[random.below(words.length)]!));
}

function pairs(found: Alignment): [number, number][] {
  return Array.from({ length: found.size }, (_, at) => [found.left[at]!, found.right[at]!]);
}

/** Words in a row below one root, as text: `ab-` on the left, `-b` on the right. */
function shown(found: Alignment, left: Side, right: Side): string {
  return pairs(found)
    .slice(1)
    .map(([a, b]) => `${a < 0 ? "-" : left.word(a)}${b < 0 ? "-" : right.word(b)}`)
    .join(" ");
}

function flat(words: string): Side {
  return side([-1, ...[...words].map(() => 0)], ["root", ...words]);
}

test("children are matched in order, then by name", () => {
  const cases = [
    ["abc", "abc", "aa bb cc"],
    ["abc", "ac", "aa b- cc"],
    ["ac", "abc", "aa -b cc"],
    ["abc", "axc", "aa b- -x cc"],
    ["ab", "ba", "aa bb"], // one of them at another place
    ["", "ab", "-a -b"],
  ];
  for (const [one, other, expected] of cases) {
    const [left, right] = [flat(one!), flat(other!)];
    assert.equal(shown(align(left, right), left, right), expected, `${one} ${other}`);
  }
  const [left, right] = [flat("ab"), flat("ba")];
  assert.equal([...align(left, right).isMoved].reduce((sum, one) => sum + one), 1);
});

test("every row of both sides is there once, below the pair of its parents", () => {
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const [left, right] = [anySide(random, 1 + random.below(30), "abc"), anySide(random, 1 + random.below(30), "abc")];
    const found = align(left, right);
    const sorted = (rows: Int32Array): number[] => [...rows.subarray(0, found.size)].filter((row) => row >= 0).sort((a, b) => a - b);
    assert.deepEqual(sorted(found.left), Array.from({ length: left.tree.size }, (_, row) => row), `seed ${seed}`);
    assert.deepEqual(sorted(found.right), Array.from({ length: right.tree.size }, (_, row) => row), `seed ${seed}`);
    const above: number[] = [];
    for (let at = 0; at < found.size; at++) {
      const [a, b] = [found.left[at]!, found.right[at]!];
      above.length = found.depth[at]!;
      const parent = above.at(-1) ?? -1;
      if (a >= 0) assert.equal(left.tree.parent[a], parent < 0 ? -1 : found.left[parent], `seed ${seed}`);
      if (b >= 0) assert.equal(right.tree.parent[b], parent < 0 ? -1 : found.right[parent], `seed ${seed}`);
      if (a >= 0 && b >= 0) assert.equal(left.word(a), right.word(b));
      above.push(at);
      let end = at + 1;
      while (end < found.size && found.depth[end]! > found.depth[at]!) end++;
      assert.equal(found.extent[at], end - at);
    }
  }
});

test("pairs are the same if the traces change places", () => {
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const [left, right] = [anySide(random, 25, "ab"), anySide(random, 25, "ab")];
    const there = pairs(align(left, right)).map(([a, b]) => `${a} ${b}`);
    const back = pairs(align(right, left)).map(([a, b]) => `${b} ${a}`);
    assert.deepEqual(there.sort(), back.sort(), `seed ${seed}`);
  }
});

test("a trace has no difference to itself", () => {
  for (let seed = 0; seed < 50; seed++) {
    const one = anySide(new Random(seed), 60, "abcd");
    const found = align(one, one);
    assert.equal(found.size, one.tree.size);
    assert.ok(pairs(found).every(([a, b]) => a === b));
  }
});

test("long runs and too many children are matched by position", () => {
  const [left, right] = [flat(`x${"a".repeat(200)}y`), flat(`z${"a".repeat(150)}y`)];
  const runs = align(left, right);
  assert.equal(pairs(runs).filter(([a, b]) => a >= 0 && b >= 0).length, 1 + 150 + 1);
  const bounded = align(flat("abcdef"), flat("fedcba"), 10);
  assert.ok(bounded.isBounded);
  assert.equal(bounded.size, 7);
});

test("matched spans differ by what is in their outlines", () => {
  const span = { statuses: ["OK"], models: ["m"], status: [0], has_error: [false], model: [0], latency_us: [1_000_000], tokens: [1], cost: [null], input_bytes: [1], output_bytes: [1] };
  const found = (change: object, of: object = {}): string[] => differences({ ...span, ...of } as unknown as TraceOutline, 0, { ...span, ...change } as unknown as TraceOutline, 0);
  assert.deepEqual(found({ models: ["other", "m"], model: [1] }), []);
  assert.deepEqual(found({ models: ["other"] }), ["model"]);
  assert.deepEqual(found({ has_error: [true], tokens: [2], cost: [0], input_bytes: [2], output_bytes: [null] }), ["status", "tokens", "cost", "input size", "output size"]);
  assert.deepEqual([1_300_000, 1_340_000, null].map((us) => found({ latency_us: [us] }).length), [0, 1, 1]);
  assert.deepEqual(found({ latency_us: [140_000] }, { latency_us: [100_000] }), []); // too short to matter
  assert.deepEqual(found({ latency_us: [null] }, { latency_us: [null] }), []);
});

test("a difference has its sign, and is none where a side is unknown", () => {
  assert.deepEqual([signed(1, 3, String), signed(3, 1, String), signed(2, 2, String)], ["+2", "−2", "±0"]);
  assert.deepEqual([signed(null, 1, String), signed(1, undefined, String)], [null, null]);
});

test("two chains of 50,000 spans are compared", () => {
  const size = 50_000;
  const parents = Array.from({ length: size }, (_, index) => index - 1);
  const chain = side(parents, parents.map(() => "step"));
  assert.equal(align(chain, chain).size, size);
});
