import assert from "node:assert/strict";
import { test } from "node:test";
import { inOrder, moved, resized, widthsOf, widthsText } from "../src/lib/columns.ts";

const all = ["a", "b", "c", "d"].map((id) => ({ id }));
const ids = (order: string[]): string => inOrder(all, order).map((one) => one.id).join("");

test("columns are in the chosen order, and others keep their places", () => {
  assert.equal(ids([]), "abcd");
  assert.equal(ids(["c", "a"]), "cdab");
  assert.equal(ids(["d", "c", "b", "a"]), "dcba");
  assert.equal(ids(["gone", "b"]), "abcd");
});

test("a column moves by one place, and not beyond the ends", () => {
  const names = ["a", "b", "c"];
  assert.deepEqual(moved(names, "a", 1), ["b", "a", "c"]);
  assert.deepEqual(moved(names, "c", -1), ["a", "c", "b"]);
  for (const [name, by] of [["a", -1], ["c", 1], ["x", 1]] as const) assert.deepEqual(moved(names, name, by), names);
});

test("a width changes by a step from what is shown, within its bounds", () => {
  assert.deepEqual(resized({ a: 100 }, "b", 120.4, 1), { a: 100, b: 160 });
  assert.deepEqual(resized({ a: 100 }, "a", 100, -1), { a: 60 });
  assert.deepEqual(resized({}, "a", 70, -1), { a: 60 });
  assert.deepEqual(resized({}, "a", 890, 1), { a: 900 });
});

test("widths are read as they were written, and nothing else is", () => {
  assert.deepEqual(widthsOf(widthsText({ name: 240, user_id: 60 })), { name: 240, user_id: 60 });
  for (const text of ["", "name", "name:", "name:x", "name:1", "name:99999", "name:-80"]) assert.deepEqual(widthsOf(text), {});
});
