import assert from "node:assert/strict";
import { test } from "node:test";
import { filterBody } from "../src/lib/filters.ts";
import { parseViews, viewOf } from "../src/lib/stored-views.ts";

test("a view is an address without its passing parts", () => {
  assert.equal(viewOf("?name=a&peek=1&live=1&dialog=score&run=2"), "?name=a");
  assert.equal(viewOf("?live=1"), "");
});

test("what is stored is read as far as it is views", () => {
  assert.deepEqual(parseViews(null), []);
  assert.deepEqual(parseViews("{"), []);
  assert.deepEqual(parseViews('{"a": 1}'), []);
  const good = { name: "mine", search: "?name=a" };
  const others = [null, 1, { name: "x" }, { name: "script", search: "javascript:alert(1)" }];
  assert.deepEqual(parseViews(JSON.stringify([...others, good])), [good]);
});

test("the body of an export has the filters of the address, in their types", () => {
  const params = new URLSearchParams("name=a&has_error=true&min_latency_ms=500&tags=x&tags=y&metadata.a=1&sort_by=name&peek=1&period=1h");
  assert.deepEqual(filterBody(params, Date.UTC(2026, 2, 1, 9)), {
    started_after: "2026-03-01T08:00:00.000Z",
    name: "a",
    has_error: true,
    min_latency_ms: 500,
    tags: ["x", "y"],
    metadata: { a: ["1"] },
  });
});
