import assert from "node:assert/strict";
import { test } from "node:test";
import { filterBody } from "../src/lib/filters.ts";
import { monitorFilters, paramsOfFilters } from "../src/lib/monitor-filters.ts";

const again = (filters: Record<string, unknown>, of: "TRACE" | "SESSION"): Record<string, unknown> => monitorFilters(paramsOfFilters(filters), of, filters, filterBody);

test("stored filters come back as they were", () => {
  for (const filters of [
    {},
    { status: "ERROR", name: "answer", tags: ["a", "b"], has_error: true, min_latency_ms: 500 },
    { not_environment: ["dev"], metadata: { tenant: ["north", "south"] }, not_metadata: { tier: ["free"] } },
    { min_cost: 0.5, span_name: "search" },
  ]) {
    assert.deepEqual(again(filters, "TRACE"), filters);
  }
  for (const filters of [{ user_id: "ada", has_error: false, min_trace_count: 3, tags: ["vip"] }, { query: "refund", not_tags: ["test"] }]) {
    assert.deepEqual(again(filters, "SESSION"), filters);
  }
});

test("what the address says replaces what was stored, and periods are left out", () => {
  const params = new URLSearchParams("status=COMPLETED&period=7d&edit=1");
  assert.deepEqual(monitorFilters(params, "TRACE", { status: "ERROR", tags: ["a"], span_model: "m" }, filterBody), { span_model: "m", status: "COMPLETED" });
});

test("a stored null does not filter", () => {
  assert.deepEqual(again({ status: null, span_model: null }, "TRACE"), {});
});

test("the weights of signals are no filter", () => {
  assert.deepEqual(again({ signal_weights: { a: 1 }, user_id: "ada" }, "SESSION"), { user_id: "ada" });
});
