/** Figures of scores: coverage, changes of the judge, and who agrees with whom. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { atStarts, codesOf, coveredBy, fingerprintChanges, originalOf } from "../src/lib/score-figures.ts";

const DAY = 86_400_000;

function point(day: number, count: number, ...fingerprints: string[]) {
  const bucket = new Date(day * DAY).toISOString();
  return { bucket, metric_name: "m", avg_score: count ? 0.5 : null, count, p10: null, p50: null, p90: null, success_count: count, skipped_count: 0, failed_count: 0, pending_count: 0, passed_count: null, threshold_count: 0, judge_kind: "model", fingerprints };
}

test("a change of the judge is shown at the bucket in which it is first seen", () => {
  const points = [point(0, 3, "a"), point(1, 0), point(2, 2, "a", "b"), point(3, 2, "b"), point(4, 1), point(5, 1, "b")];
  assert.deepEqual(fingerprintChanges(points).map((one) => one.at / DAY), [2, 4, 5]);
  assert.deepEqual(fingerprintChanges([point(0, 1), point(1, 2)]), []);
  assert.match(fingerprintChanges(points)[0]!.label, /to b:/);
});

test("a bucket without a point, or without a number, is null", () => {
  const points = [point(0, 3, "a"), point(2, 0)];
  assert.deepEqual(atStarts(points, [0, DAY, 2 * DAY], (one) => one.avg_score), [0.5, null, null]);
});

test("what was not scored has its reason", () => {
  assert.deepEqual(coveredBy({ success_count: 1, skipped_count: 2, failed_count: 3, pending_count: 4 }), { scored: 1, skipped: 2, failed: 3, pending: 4 });
});

test("what a judge had said is known where a person wrote over it", () => {
  assert.equal(originalOf({ original_value: "0.2" }), "0.2");
  assert.equal(originalOf({ original_value: null }), null);
});

test("codes are counted, the most frequent first", () => {
  const scores = [{ metadata: { code: "a" } }, { metadata: { code: "b" } }, { metadata: { code: "b" } }, { metadata: {} }];
  assert.deepEqual(codesOf(scores), [["b", 2], ["a", 1], ["no code", 1]]);
});
