import assert from "node:assert/strict";
import { test } from "node:test";
import { gapsOf, TimeScale } from "../src/lib/chart/scale.ts";
import { buildTree } from "../src/lib/tree.ts";
import { Random } from "./random.ts";

function tree(parents: readonly number[], times: readonly [number, number | null][]) {
  const zeros = parents.map(() => 0);
  return buildTree({
    span_id: parents.map(String),
    parent: parents,
    name: zeros,
    kind: zeros,
    status: zeros,
    start_us: times.map(([start]) => start),
    latency_us: times.map(([, latency]) => latency),
  });
}

test("long stretches without a leaf are gaps", () => {
  const found = gapsOf(tree([-1, 0, 0, 0], [[0, 36_000], [100, 40], [12_000, 40], [12_050, 23_900]]));
  assert.deepEqual(found, [{ from: 140, to: 12_000 }]);
  assert.deepEqual(gapsOf(tree([-1], [[0, 1000]])), []);
  assert.deepEqual(gapsOf(tree([-1, 0, 0], [[0, 1000], [0, 10], [500, null]])), [{ from: 10, to: 500 }]);
});

test("places are in the order of the instants, and lead back", () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = new Random(seed);
    const edges = Array.from({ length: 2 * random.below(5) }, () => random.below(10_000)).sort((a, b) => a - b);
    const gaps = [];
    for (let at = 0; at < edges.length; at += 2) if (edges[at]! < edges[at + 1]!) gaps.push({ from: edges[at]!, to: edges[at + 1]! });
    const scale = new TimeScale(gaps, { from: 0, to: 10_000 });
    let before = -Infinity;
    for (let us = 0; us <= 10_000; us += 97) {
      const place = scale.place(us);
      assert.ok(place > before, `seed ${seed}`);
      assert.ok(Math.abs(scale.instant(place) - us) < 1e-6, `seed ${seed}: ${us}`);
      before = place;
    }
  }
});

test("ticks are in order, within the range and outside of gaps", () => {
  const scale = new TimeScale([{ from: 1000, to: 900_000 }], { from: 0, to: 902_000 });
  const found = scale.ticks(0, 902_000, 6);
  assert.ok(found.length >= 2 && found.length <= 8, String(found));
  assert.ok(found.every((us, index) => (us <= 1000 || us >= 900_000) && (index === 0 || us > found[index - 1]!)));
});
