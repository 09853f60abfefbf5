import assert from "node:assert/strict";
import { test } from "node:test";
import { filterBody } from "../src/lib/filters.ts";
import { againQuery, sessionFilters, weightsOf } from "../src/lib/run-form.ts";

const RUN = { target_type: "TRACE", metric_names: ["confidence"], model: "openai/gpt-4o", votes: 3, max_cost_usd: 0.5, sampling_rate: 0.25, settled_only: false };

test("a run like another one has its filters and choices", () => {
  const filters = { date_from: "2026-03-01", tags: ["a", "b"], has_error: true, min_latency_ms: 2000, metadata: { tier: ["gold", "silver"] }, not_status: ["ERROR"] };
  const params = new URLSearchParams(againQuery({ ...RUN, filters })!);
  const { date_from: from, ...same } = filters;
  assert.deepEqual(filterBody(params, 0), { ...same, started_after: from });
  assert.deepEqual(["of", "metric", "judge", "votes", "most", "share", "unsettled"].map((name) => params.get(name)), ["traces", "confidence", "openai/gpt-4o", "3", "0.5", "25", "1"]);
});

test("a run without choices has none in the address", () => {
  const plain = { ...RUN, metric_names: [], model: null, votes: 1, max_cost_usd: null, sampling_rate: 1, settled_only: true, filters: {} };
  assert.equal(againQuery(plain), "of=traces");
  assert.equal(new URLSearchParams(againQuery({ ...plain, votes: 2 })!).get("votes"), "2");
});

test("a run over sessions has the filters of sessions", () => {
  const filters = { user_id: "ada", min_trace_count: 2, has_error: false, not_tags: ["test"] };
  const params = new URLSearchParams(againQuery({ ...RUN, target_type: "SESSION", filters })!);
  assert.deepEqual(sessionFilters(params), filters);
  assert.equal(params.get("of"), "sessions");
});

test("a run over named targets, or with weights, can't be started like it", () => {
  for (const filters of [{ trace_ids: ["1"] }, { session_ids: ["s"] }, { retry_of: "1", trace_ids: ["1"] }]) {
    assert.equal(againQuery({ ...RUN, filters }), null);
  }
});

test("weights of signals are in the address, as numbers of the run", () => {
  const again = againQuery({ ...RUN, target_type: "SESSION", filters: { signal_weights: { confidence: 2, trace_success: 0 } } })!;
  assert.deepEqual(weightsOf(new URLSearchParams(again)), { confidence: 2, trace_success: 0 });
  assert.deepEqual(weightsOf(new URLSearchParams("weight.confidence=&weight.coherence=-1&weight.other=1")), {});
});
