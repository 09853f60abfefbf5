import assert from "node:assert/strict";
import { test } from "node:test";
import { jsonChanges } from "../src/lib/payload/json-diff.ts";
import { Random } from "./random.ts";

function changes(left: string, right: string): [string, string | null, string | null][] {
  return jsonChanges(left, right)!.changes.map((one) => [one.path, one.left, one.right]);
}

test("changed values are listed by path, digit by digit", () => {
  const left = '{"a": 1.0, "b": {"c": [1, 2, 3]}, "same": 1, "gone": null}';
  const right = '{"b": {"c": [1, 5, 3]}, "a": 1.00, "same": 1, "new key": "x"}';
  assert.deepEqual(changes(left, right), [
    ["a", "1.0", "1.00"],
    ["b.c[1]", "2", "5"],
    ["gone", "null", null],
    ['["new key"]', null, '"x"'],
  ]);
});

test("an element that comes in between is the only difference", () => {
  const message = (text: string): string => `{"role": "user", "content": "${text}"}`;
  const left = `{"messages": [${["a", "b"].map(message)}]}`;
  const right = `{"messages": [${["a", "x", "b"].map(message)}]}`;
  assert.deepEqual(changes(left, right), [["messages[1]", null, message("x")]]);
});

test("strings are compared by what they say", () => {
  assert.deepEqual(changes('{"a": "\\u0041b"}', '{"a": "Ab"}'), []);
  const [one] = jsonChanges('"one\\ntwo"', '"one\\nthree"')!.changes;
  assert.deepEqual(one, { path: "", left: "one\ntwo", right: "one\nthree", isText: true });
});

test("invalid JSON, deep values and long lists of changes are bounded", () => {
  assert.equal(jsonChanges("{", "{}"), null);
  const deep = (value: string): string => "[".repeat(5000) + value + "]".repeat(5000);
  assert.equal(changes(deep("1"), deep("2")).length, 1);
  const list = (value: number): string => `[${new Array(2000).fill(value)}]`;
  const cut = jsonChanges(list(1), list(2))!;
  assert.ok(cut.isCut);
  assert.ok(jsonChanges(`[${new Array(200_000).fill(1)}]`, `[${new Array(200_000).fill(2)}]`)?.isCut);
  assert.equal(cut.changes.length, 500);
});

test("equal values have no difference, others have one", () => {
  const any = (random: Random, depth: number): unknown => {
    const kind = random.below(depth > 3 ? 3 : 5);
    if (kind < 3) return [random.below(3), "text", null][kind];
    const parts = Array.from({ length: random.below(4) }, () => any(random, depth + 1));
    return kind === 3 ? parts : Object.fromEntries(parts.map((part, index) => [`k${index}`, part]));
  };
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const [one, other] = [any(random, 0), any(random, 0)].map((value) => JSON.stringify(value));
    assert.deepEqual(changes(one!, ` ${one} `), []);
    assert.equal(changes(one!, other!).length === 0, one === other, `seed ${seed}`);
  }
});
