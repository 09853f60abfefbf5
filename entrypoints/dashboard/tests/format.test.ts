import assert from "node:assert/strict";
import { test } from "node:test";
import { Random } from "./random.ts";

// The chosen zone is a preference, which the browser keeps.
Object.assign(globalThis, {
  matchMedia: () => ({ matches: false, addEventListener: () => {} }),
  document: { documentElement: { dataset: {} } },
});
const { NONE, ago, briefInstant, bytes, cost, costHint, count, duration, fieldOf, fullInstant, inPercent, instant, instantOf, latencyHint, percent, plural, pricedText, score, short, speedText, startOf, tracesText } = await import("../src/lib/format.ts");
const { zone } = await import("../src/lib/preferences.ts");

const DAY = { year: "numeric", month: "2-digit", day: "2-digit" } as const;
const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" } as const;

test("numbers are grouped as Intl groups them", () => {
  const random = new Random(1);
  const own = new Intl.NumberFormat("en");
  for (const value of [0, 999, 1000, -1234.5, 1_234_567.8912, Number.MAX_SAFE_INTEGER]) assert.equal(count(value), own.format(value));
  for (let round = 0; round < 500; round++) {
    const value = Math.floor((random.next() - 0.5) * 10 ** random.below(15));
    assert.equal(count(value), own.format(value).replace("-0", "0"));
  }
});

test("money and speeds have grouped digits, and no exponent", () => {
  assert.deepEqual([0, 0.0125, 9.5, 1234.5, 1e6].map((usd) => cost(usd)), ["$0.00", "$0.0125", "$9.5000", "$1,234.50", "$1,000,000.00"]);
  assert.equal(cost(5000, 2), "≥ $5,000.00");
  assert.deepEqual([cost(1e-7), cost(1e-7, 1), cost(0, 1), cost(null)], ["< $0.000001", "> $0.00", NONE, NONE]);
  assert.deepEqual([0.0075, 1.7, 20.4].map(speedText), ["0.45 a minute", "100 a minute", "1,200 a minute"]);
});

test("instants are those of Intl, in both zones, also where clocks change", () => {
  const random = new Random(2);
  for (const shown of ["utc", "local"] as const) {
    zone.value = shown;
    const options = shown === "utc" ? { timeZone: "UTC" } : {};
    const [day, clock] = [new Intl.DateTimeFormat("sv", { ...DAY, ...options }), new Intl.DateTimeFormat("sv", { ...CLOCK, ...options })];
    const full = new Intl.DateTimeFormat("sv", { ...DAY, ...CLOCK, fractionalSecondDigits: 3, ...options });
    for (let round = 0; round < 500; round++) {
      const at = Date.UTC(1975 + random.below(80)) + random.below(366 * 86_400) * 1000 + random.below(1000);
      assert.equal(instant(at, 0), `${day.format(at)} ${clock.format(at)}`); // another day, whenever this runs
      assert.equal(instant(at, at), clock.format(at));
      assert.ok(fullInstant(at).startsWith(`${full.format(at)} ${shown === "utc" ? "UTC" : "local"}`));
      assert.ok(fullInstant(at).endsWith(` · ${new Date(at).toISOString()}`));
    }
  }
});

test("an instant in a narrow column has what tells it from others", () => {
  zone.value = "utc";
  const now = Date.parse("2026-03-02T12:00:00Z");
  assert.equal(briefInstant("2026-03-02T09:00:01Z", now), "09:00:01");
  assert.equal(briefInstant("2025-12-31T23:59:59Z", now), "12-31 23:59");
  assert.equal(briefInstant("2025-08-02T12:00:00Z", now), "2025-08-02");
  assert.equal(briefInstant(null), NONE);
});

test("a missing figure is not shown as a number", () => {
  for (const format of [count, duration, bytes, cost, score, instant, fullInstant, ago]) assert.deepEqual([format(null), format(undefined)], [NONE, NONE]);
});

test("how long ago is said as Intl says it", () => {
  const own = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const sizes = { second: 1, minute: 60, hour: 3600, day: 86_400, month: 30 * 86_400, year: 365 * 86_400 };
  const names = Object.keys(sizes) as (keyof typeof sizes)[];
  const now = Date.UTC(2026, 2, 1);
  names.forEach((name, at) => {
    const limit = Math.min(3 * 365 * 86_400, sizes[names[at + 1] ?? "year"] || Infinity);
    for (const sign of [-1, 1]) {
      for (let number = 1; number * sizes[name] < (name === "year" ? limit : sizes[names[at + 1]!]); number++) {
        const then = new Date(now + sign * number * sizes[name] * 1000).toISOString();
        assert.equal(ago(then, now), own.format(sign * number, name));
      }
    }
  });
  assert.equal(ago(new Date(now).toISOString(), now), "now");
});

test("how long ago is in the unit that it is rounded to", () => {
  const now = Date.UTC(2026, 2, 1);
  const before = (seconds: number): string => ago(new Date(now - seconds * 1000).toISOString(), now);
  assert.deepEqual([59.4, 59.7, 3599, 86_399, 29.9 * 86_400].map(before), ["59 seconds ago", "1 minute ago", "1 hour ago", "yesterday", "last month"]);
});

test("durations are rounded before the unit is chosen", () => {
  assert.deepEqual([59_940, 59_970, 3_599_600, 47 * 3_600_000, 172_799_999].map(duration), ["59.9 s", "1 min", "1 h", "47 h", "2 d"]);
  assert.deepEqual([0, 0.0256, 100, 340.4, 999.6, 1250].map(duration), ["0 ms", "0.026 ms", "100 ms", "340 ms", "1 s", "1.25 s"]);
});

test("sizes have three digits, in steps of a thousand", () => {
  assert.deepEqual([0, 999, 1000, 1536, 999_600, 2e12].map(bytes), ["0 B", "999 B", "1 kB", "1.54 kB", "1 MB", "2000 GB"]);
});

test("a number has its word, and says if there may be more", () => {
  assert.deepEqual([0, 1, 2000].map((one) => plural(one, "span")), ["0 spans", "1 span", "2,000 spans"]);
  assert.deepEqual([tracesText(1), tracesText(1, true)], ["1 trace", "at least 1 trace"]);
  assert.deepEqual([12_345, 4_560_000].map(short), ["12.3K", "4.6M"]);
});

test("a sum says what it is of", () => {
  assert.deepEqual([costHint(1), costHint(1, 2), costHint(0, 1), costHint(null, 1)], ["", "At least this much: 2 spans have no price", "Unknown: 1 span has no price", "Unknown: 1 span has no price"]);
  const priced = (priced_span_count: number | null, unpriced_span_count: number): string => pricedText({ priced_span_count, unpriced_span_count });
  assert.deepEqual([priced(3, 1), priced(2, 0), priced(0, 0)], ["75 % of 4 spans priced", "all of 2 spans priced", "no span with a cost"]);
  assert.deepEqual([priced(null, 0), priced(null, 1)], ["every span is priced", "1 span has no price"]);
});

test("a field for a date or time means the shown zone, as what is shown next to it", () => {
  const random = new Random(3);
  for (const shown of ["utc", "local"] as const) {
    zone.value = shown;
    for (let round = 0; round < 500; round++) {
      const at = Date.UTC(1975 + random.below(80)) + random.below(366 * 1440) * 60_000;
      assert.equal(instant(instantOf(fieldOf(at)), 0), instant(at, 0));
      const day = fieldOf(at).slice(0, 10);
      assert.equal(instant(instantOf(day), 0), `${day} 00:00:00`);
    }
  }
  zone.value = "utc";
  assert.equal(instantOf("2026-03-01"), Date.UTC(2026, 2, 1));
  assert.equal(instantOf("2026-03-01T09:30"), Date.UTC(2026, 2, 1, 9, 30));
  assert.deepEqual(["", "soon"].map(instantOf), [NaN, NaN]);
});

test("numbers of scores are rounded", () => {
  assert.deepEqual([0.013049999999999999, 1, 0, null].map(score), ["0.013", "1", "0", "—"]);
});

test("only all of it is 100 %", () => {
  assert.deepEqual([[992, 1000], [1000, 1000], [1, 1000], [0, 1000], [98, 100]].map(([part, of]) => percent(part!, of!)), ["over 99 %", "100 %", "under 1 %", "0 %", "98 %"]);
  assert.deepEqual([0.07, 0.123456, 1].map(inPercent), [7, 12.3456, 100]);
});

test("a time before the start is as long as one after it", () => {
  assert.deepEqual([-5000, -90_000].map(duration), ["-5 s", "-1 min 30 s"]);
});

test("a latency that isn't there has a reason", () => {
  assert.match(latencyHint({ clock_skew: true, latency_ms: null }), /a clock is wrong/);
  assert.equal(latencyHint({ clock_skew: false, latency_ms: null }), "No end was sent");
  assert.equal(latencyHint({ clock_skew: false, latency_ms: 0 }), "");
});

test("no character is cut in half", () => {
  const text = "ab😀c";
  assert.deepEqual([0, 2, 3, 4, 5, 9].map((length) => startOf(text, length)), ["", "ab", "ab", "ab😀", text, text]);
});
