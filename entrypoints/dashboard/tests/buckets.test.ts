import assert from "node:assert/strict";
import { test } from "node:test";
import { BARS_MAX, boundsOf, bucketsOf, bucketZone, STEP_MS, summed, unitOf, utcStarts } from "../src/lib/chart/buckets.ts";

test("buckets in UTC start at whole hours, days, and Mondays", () => {
  const from = Date.parse("2026-03-04T10:20:00Z");
  const starts = (granularity: "hour" | "day" | "week", ms: number): string[] => utcStarts(from, from + ms, granularity).map((at) => new Date(at).toISOString().slice(0, 13));
  assert.deepEqual(starts("hour", STEP_MS.hour), ["2026-03-04T10", "2026-03-04T11"]);
  assert.deepEqual(starts("day", STEP_MS.day), ["2026-03-04T00", "2026-03-05T00"]);
  assert.deepEqual(starts("week", STEP_MS.week), ["2026-03-02T00", "2026-03-09T00"]);
  assert.deepEqual(utcStarts(from, from, "week").length, 1);
});

test("a histogram of any hour and day has all buckets of its period", () => {
  const from = Date.parse("2026-03-04T10:20:00Z");
  for (const days of [1, 3, 4, 398.9, 399, 399.6, 400, 1_000]) {
    const to = from + days * STEP_MS.day;
    assert.ok(utcStarts(from, to, unitOf(from, to)).length <= BARS_MAX, `${days} days`);
  }
});

test("hours are shown of three days, and a period has its bounds in order", () => {
  assert.deepEqual([3, 3.01, 399, 399.01].map((days) => unitOf(0, days * STEP_MS.day)), ["hour", "day", "day", "week"]);
  assert.deepEqual(boundsOf({ from: 0, to: STEP_MS.day }), { started_after: "1970-01-01T00:00:00.000Z", started_before: "1970-01-02T00:00:00.000Z" });
});

test("days are those of the zone that is shown, or of UTC where its days begin within an hour of UTC", () => {
  const period = { from: Date.parse("2026-03-01"), to: Date.parse("2026-03-08"), granularity: "day" } as const;
  assert.equal(bucketsOf(period, true).tz, "UTC");
  const isWhole = new Date(period.from).getTimezoneOffset() % 60 === 0;
  assert.equal(bucketsOf(period, false).tz, isWhole ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC");
});

test("days are those of UTC where some in the period don't begin with an hour of UTC, and in an unknown zone", (t) => {
  const known = process.env.TZ;
  t.after(() => (known === undefined ? delete process.env.TZ : (process.env.TZ = known)));
  process.env.TZ = "Australia/Lord_Howe"; // half an hour of summer time
  const [summer, winter, next] = ["2026-01-01", "2026-07-01", "2027-01-01"].map((day) => Date.parse(day)) as [number, number, number];
  assert.equal(bucketZone(summer, summer + STEP_MS.week, false), "Australia/Lord_Howe");
  assert.equal(bucketZone(winter, winter + STEP_MS.week, false), "UTC");
  assert.equal(bucketZone(summer, next, false), "UTC");
  process.env.TZ = "UTC";
  assert.equal(bucketZone(summer, next, false, "Etc/Unknown"), "UTC");
});

test("groups are summed by bucket, and what is null counts nothing", () => {
  const groups = [{ buckets: [{ n: 1 }, { n: null }] }, { buckets: [{ n: 2 }, { n: 3 }] }];
  assert.deepEqual(summed(groups, (one) => one.n), [3, 3]);
  assert.deepEqual(summed([], () => 1), []);
});
