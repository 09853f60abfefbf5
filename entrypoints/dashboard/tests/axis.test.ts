import assert from "node:assert/strict";
import { test } from "node:test";
import { evenDecimals, runsOf, tickText, timeTicks, valueTicks } from "../src/lib/chart/axis.ts";
import { paramsOf } from "../src/url/params.ts";
import { Random } from "./random.ts";

test("an axis has round values within its ends", () => {
  assert.deepEqual(valueTicks(0, 1), [0, 0.5, 1]);
  assert.deepEqual(valueTicks(0, 37), [0, 20]);
  assert.deepEqual(valueTicks(0, 0), [0]);
  assert.deepEqual(valueTicks(0, 110_000, 1000), [0, 60_000]);
});

test("the values of an axis have one number of decimals", () => {
  const even = (...texts: string[]): string => evenDecimals(texts).join(" ");
  assert.equal(even("$0.00", "$0.5000", "$1.0000"), "$0.00 $0.50 $1.00");
  assert.equal(even("$0.00", "$0.002000", "$0.004000", "$0.0100"), "$0.000 $0.002 $0.004 $0.010");
  assert.equal(even("$0.00", "$0.000050", "$0.000100"), "$0.00000 $0.00005 $0.00010");
  assert.equal(even("$0.00", "$50.0000", "$1,000.00"), "$0.00 $50.00 $1,000.00");
  assert.equal(even("0 ms", "500 ms", "1 s", "1.5 s"), "0 ms 500 ms 1.0 s 1.5 s");
  assert.equal(even("0 ms", "1 min", "2 min 5 s"), "0 ms 1 min 2 min 5 s");
  assert.equal(even("0", "500", "1K", "1.5K"), "0 500 1.0K 1.5K");
  assert.equal(even("0", "0.5", "1"), "0.0 0.5 1.0");
  assert.equal(even("none"), "none");
});

test("days begin at midnight of the shown zone", () => {
  const from = Date.UTC(2026, 2, 1, 5);
  const found = timeTicks(from, from + 4 * 86_400_000, 6, true);
  assert.deepEqual(found.map((at) => new Date(at).toISOString().slice(0, 16)), ["2026-03-02T00:00", "2026-03-03T00:00", "2026-03-04T00:00", "2026-03-05T00:00"]);
  assert.equal(tickText(found[0]!, from, from + 4 * 86_400_000, true), "03-02");
  assert.equal(tickText(from, from, from + 3_600_000, true), "05:00");
  assert.deepEqual([2, 3, 300, 301].map((days) => tickText(from, from, from + days * 86_400_000, true)), ["05:00", "03-01", "03-01", "2026-03"]);
});

test("days begin at midnight also after clocks change", () => {
  const before = process.env.TZ;
  process.env.TZ = "Europe/Berlin"; // the night of October 25 is an hour longer
  const found = timeTicks(Date.parse("2026-10-23T22:00Z"), Date.parse("2026-10-27T23:00Z"), 6, false);
  assert.deepEqual(found.map((at) => new Date(at).toISOString().slice(5, 16)), ["10-23T22:00", "10-24T22:00", "10-25T23:00", "10-26T23:00", "10-27T23:00"]);
  if (before === undefined) delete process.env.TZ;
  else process.env.TZ = before;
});

test("a line is broken where nothing was measured, and loses no number", () => {
  const random = new Random(7);
  for (let round = 0; round < 200; round += 1) {
    const values = Array.from({ length: Math.floor(random.next() * 12) }, () => (random.next() < 0.4 ? null : random.next()));
    const runs = runsOf(values);
    assert.deepEqual(runs.flat(), values.flatMap((one, index) => (one === null ? [] : [index])));
    for (const run of runs) {
      assert.ok(run.every((index, at) => index === run[0]! + at));
      assert.equal(values[run[0]! - 1] ?? null, null);
      assert.equal(values[run.at(-1)! + 1] ?? null, null);
    }
  }
});

test("parameters of an address are decoded once", () => {
  assert.deepEqual(paramsOf("/p/:project/sessions/:session", "/p/1/sessions/a%252Fb%2Fc"), { project: "1", session: "a%2Fb/c" });
  assert.deepEqual(paramsOf("/p/:project/sessions/:session", "/p/1/sessions/100%2"), { project: "1", session: "100%2" });
});
