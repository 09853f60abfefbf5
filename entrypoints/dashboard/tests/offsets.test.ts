import assert from "node:assert/strict";
import { test } from "node:test";
import { itemAt, offsetsOf } from "../src/lib/offsets.ts";
import { Random } from "./random.ts";

test("an item is found at each distance within it", () => {
  const random = new Random(1);
  for (let round = 0; round < 200; round++) {
    const heights = Array.from({ length: 1 + random.below(20) }, () => 1 + random.below(50));
    const offsets = offsetsOf(heights);
    assert.equal(offsets.at(-1), heights.reduce((sum, one) => sum + one, 0));
    heights.forEach((height, at) => {
      assert.equal(itemAt(offsets, offsets[at]!), at);
      assert.equal(itemAt(offsets, offsets[at]! + height - 0.5), at);
    });
    assert.equal(itemAt(offsets, -5), 0);
    assert.equal(itemAt(offsets, 1e6), heights.length - 1);
  }
});

test("there may be no item", () => {
  assert.deepEqual([...offsetsOf([])], [0]);
  assert.equal(itemAt(offsetsOf([]), 10), 0);
});
