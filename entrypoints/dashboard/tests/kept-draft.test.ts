/** What is left of a form that a tab kept. */
import assert from "node:assert/strict";
import test from "node:test";
import { keptDraft } from "../src/lib/kept-draft.ts";

const INITIAL = { name: "", metrics: ["latency"], share: "100", onlyChanged: true };

test("a kept form has what was typed", () => {
  const typed = { ...INITIAL, name: "nightly", metrics: [] };
  assert.deepEqual(keptDraft(JSON.stringify(typed), INITIAL), typed);
});

test("a form keeps what it has only sometimes", () => {
  assert.deepEqual(keptDraft('{"llm": {"votes": 3}}', {}), { llm: { votes: 3 } });
});

test("values of another type than the form has are left out", () => {
  const older = { name: 5, metrics: "latency", share: null, onlyChanged: false };
  assert.deepEqual(keptDraft(JSON.stringify(older), INITIAL), { onlyChanged: false });
});

test("a damaged form is none", () => {
  for (const text of [null, "{", "null", "[1]", '"name"']) assert.deepEqual(keptDraft(text, INITIAL), {});
});
