import assert from "node:assert/strict";
import { test } from "node:test";
import { definitionText, flatRule, MEASURES, typedValue, valueText, withParameter } from "../src/lib/metric-definition.ts";

test("a value that is typed stays what it was", () => {
  for (const value of ["ada", "", "42", "true", "null", "[1", '"quoted"', 42, 0.5, true, false, null, [1, "a"], { a: 1 }]) {
    assert.deepEqual(typedValue(valueText(value)), value);
  }
  assert.equal(valueText(undefined), "");
});

test("a rule is one list of conditions, or is left to JSON", () => {
  const one = { path: "answer", op: "exists" };
  assert.deepEqual(flatRule(one), { join: "all", conditions: [one] });
  assert.deepEqual(flatRule({ none: [one, one] }), { join: "none", conditions: [one, one] });
  for (const rule of [{ not: one }, { all: [{ any: [one] }] }, { all: [one], any: [one] }, { all: one }, { all: [{ ...one, more: 1 }] }, {}]) {
    assert.equal(flatRule(rule), null);
  }
});

test("a parameter that is empty is left out", () => {
  const [target, hard] = MEASURES.latency_slo!;
  let made = withParameter({ type: "latency_slo" }, target!, "2000");
  made = withParameter(made, hard!, "9000");
  assert.deepEqual(made, { type: "latency_slo", parameters: { target_ms: 2000, hard_ms: 9000 } });
  assert.deepEqual(withParameter(made, hard!, ""), { type: "latency_slo", parameters: { target_ms: 2000 } });
});

test("the text of a definition does not depend on the order of its members", () => {
  assert.equal(definitionText({ b: [{ d: 1, c: 2 }], a: 1 }), definitionText({ a: 1, b: [{ c: 2, d: 1 }] }));
});
