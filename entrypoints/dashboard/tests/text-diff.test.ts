import assert from "node:assert/strict";
import { test } from "node:test";
import { indented } from "../src/lib/payload/json-diff.ts";
import { textBlocks, type Block } from "../src/lib/payload/text-diff.ts";
import { Random } from "./random.ts";

/** What one side of the blocks says. */
function sideOf(blocks: readonly Block[], other: "left" | "right"): string {
  return blocks
    .map((block) => (block.kind === "changed" ? block.pieces.filter((one) => one.kind !== other).map((one) => one.text).join("") : block.text))
    .join("");
}

test("nothing of either text is lost", () => {
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const text = (): string => Array.from({ length: random.below(40) }, () => random.pick(["one", "two", "\n", " ", "three\n", ""])).join("");
    const [left, right] = [text(), text()];
    const blocks = textBlocks(left, right)!;
    assert.equal(sideOf(blocks, "right"), left, `seed ${seed}`);
    assert.equal(sideOf(blocks, "left"), right, `seed ${seed}`);
  }
});

test("changed lines are compared word by word, and equal ones far away are folded", () => {
  const lines = (middle: string): string => ["a", "b", "c", "d", "e", "f", "g", "h", middle, "i"].join("\n");
  const blocks = textBlocks(lines("the old red word"), lines("the new red word"))!;
  assert.deepEqual(blocks[0], { kind: "folded", text: "a\nb\nc\nd\ne\n", lines: 5 });
  const changed = blocks.find((one) => one.kind === "changed")!;
  assert.deepEqual(
    changed.pieces.map((one) => one.text.trim()),
    ["the", "old", "new", "red word"],
  );
});

test("texts with little in common are shown one after the other", () => {
  const [block] = textBlocks("completely other words here", "nothing like that at all")!;
  assert.deepEqual(block!.kind === "changed" && block.pieces.map((one) => one.kind), ["left", "right"]);
});

test("a short text within a long one is shown after it", () => {
  const [block] = textBlocks("so", "so much more is said here")!;
  assert.deepEqual(block!.kind === "changed" && block.pieces.map((one) => one.kind), ["left", "right"]);
});

test("indented JSON has one member a line, and the digits that were sent", () => {
  const text = '{"a":[1.0,2e5,{}],"b":"x, {y}: [z]","c":[ ]}';
  assert.equal(indented(text), '{\n  "a": [\n    1.0,\n    2e5,\n    {}\n  ],\n  "b": "x, {y}: [z]",\n  "c": []\n}');
});
