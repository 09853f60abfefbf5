import assert from "node:assert/strict";
import { test } from "node:test";
import { buildTree, criticalPath, keepMatches, selfTimes, visibleRows, type Outline } from "../src/lib/tree.ts";
import { Random } from "./random.ts";

function outline(parents: readonly number[], times?: readonly [number, number | null][]): Outline {
  const size = parents.length;
  const zeros = new Array<number>(size).fill(0);
  return {
    span_id: parents.map((_, index) => `span-${index}`),
    parent: parents,
    name: zeros,
    kind: zeros,
    status: zeros,
    start_us: times ? times.map(([start]) => start) : parents.map((_, index) => index),
    latency_us: times ? times.map(([, latency]) => latency) : zeros,
  };
}

/** Any parents at all: earlier ones, later ones, lost ones, cycles. */
function anyParents(random: Random, size: number): number[] {
  return Array.from({ length: size }, () => {
    const kind = random.below(8);
    if (kind === 0) return -1;
    if (kind === 1) return -2;
    return random.below(size);
  });
}

test("every span has one row, below its parent, and subtrees are contiguous", () => {
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const parents = anyParents(random, 1 + random.below(40));
    const tree = buildTree(outline(parents));
    assert.deepEqual([...tree.span].sort((a, b) => a - b), parents.map((_, index) => index), `seed ${seed}`);
    for (let row = 0; row < tree.size; row++) {
      const parent = tree.parent[row]!;
      assert.equal(tree.row[tree.span[row]!], row);
      if (parent < 0) {
        assert.equal(tree.depth[row], 0);
        continue;
      }
      assert.equal(parents[tree.span[row]!], tree.span[parent], `seed ${seed}`);
      assert.equal(tree.depth[row], tree.depth[parent]! + 1);
      assert.ok(parent < row && row < parent + tree.extent[parent]!);
    }
    for (let row = 0; row < tree.size; row++) {
      const siblings = Array.from(tree.parent.keys()).filter((other) => tree.parent[other] === tree.parent[row]);
      assert.deepEqual([tree.position[row], tree.siblings[row]], [siblings.indexOf(row) + 1, siblings.length], `seed ${seed}`);
    }
  }
});

test("spans whose parent is lost, or their own descendant, are roots with a mark", () => {
  const lost = buildTree(outline([-1, -2, 0]));
  assert.deepEqual([...lost.isOrphan], [0, 0, 1]);
  const cycle = buildTree(outline([1, 2, 0]));
  assert.equal([...cycle.isOrphan].filter(Boolean).length, 1);
  assert.equal(cycle.extent[0], 3);
});

test("a chain of 100,000 spans is built and shown", () => {
  const size = 100_000;
  const tree = buildTree(outline(Array.from({ length: size }, (_, index) => index - 1)));
  assert.equal(tree.depth[size - 1], size - 1);
  assert.equal(visibleRows(tree, new Set()).length, size);
  assert.equal(visibleRows(tree, new Set([10])).length, 11);
});

test("shown rows are those without a collapsed ancestor", () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = new Random(seed);
    const tree = buildTree(outline(anyParents(random, 30)));
    const collapsed = new Set(Array.from({ length: 6 }, () => random.below(30)));
    const expected: number[] = [];
    for (let row = 0; row < tree.size; row++) {
      let isHidden = false;
      for (let at = tree.parent[row]!; at >= 0; at = tree.parent[at]!) isHidden ||= collapsed.has(at);
      if (!isHidden) expected.push(row);
    }
    assert.deepEqual([...visibleRows(tree, collapsed)], expected, `seed ${seed}`);
  }
});

test("matches keep their ancestors", () => {
  const tree = buildTree(outline([-1, 0, 1, 0, -1]));
  const kept = keepMatches(tree, (row) => tree.span[row] === 2);
  assert.deepEqual([...kept], [1, 1, 2, 0, 0]);
  assert.deepEqual([...visibleRows(tree, new Set([0]), kept)], [0, 1, 2]); // though it is collapsed
});

test("self time leaves out the time of children, overlaps once", () => {
  const tree = buildTree(outline([-1, 0, 0, 0], [[0, 100], [10, 30], [20, 40], [90, 50]]));
  assert.deepEqual([...selfTimes(tree)], [100 - 50 - 10, 30, 40, 50]);
});

test("the critical path goes back from the end", () => {
  const tree = buildTree(outline([-1, 0, 0, 0], [[0, 100], [0, 40], [10, 20], [50, 45]]));
  const spans = [...criticalPath(tree)].map((row) => tree.span[row]!).sort();
  assert.deepEqual(spans, [0, 1, 3]);
  const others = buildTree(outline([-1, -1, 1, 1], [[0, 50], [10, 90], [20, 80], [5, 10]])); // a child that began before its parent
  assert.deepEqual([...criticalPath(others)].map((row) => others.span[row]!), [1, 2]);
});

test("a span without an end goes on as long as its trace does", () => {
  const spans = outline([-1, 0], [[0, 10], [2, null]]);
  assert.deepEqual([...buildTree({ ...spans, trace: { status: "RUNNING" } }).isOpen], [0, 1]);
  assert.deepEqual([...buildTree({ ...spans, trace: { status: "COMPLETED" } }).isOpen], [0, 0]);
});

test("what runs begins before the end of the time", () => {
  const last = outline([-1, 0], [[0, 10], [10, null]]);
  assert.equal(buildTree({ ...last, trace: { status: "RUNNING" } }).to, 11);
  assert.equal(buildTree({ ...last, trace: { status: "COMPLETED" } }).to, 10);
  assert.equal(buildTree({ ...outline([-1], [[5, null]]), trace: { status: "RUNNING" } }).to, 1_000_005);
});
