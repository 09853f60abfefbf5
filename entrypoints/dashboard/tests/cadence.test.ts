import assert from "node:assert/strict";
import { test } from "node:test";
import { EVERY_HOURS, cadenceWords, inBothZones, readCadence, slotsAfter, writeCadence, type Cadence } from "../src/lib/chart/cadence.ts";
import { Random } from "./random.ts";

test("what is chosen is read back as it was", () => {
  const random = new Random(3);
  const up = (most: number): number => Math.floor(random.next() * most);
  for (let round = 0; round < 500; round += 1) {
    const clock = { hour: up(24), minute: up(60) };
    const chosen: Cadence[] = [
      { kind: "every_6h" },
      { kind: "daily" },
      { kind: "weekly" },
      { kind: "hours", every: EVERY_HOURS[up(EVERY_HOURS.length)]!, minute: clock.minute },
      { kind: "day", ...clock },
      { kind: "workdays", ...clock },
      { kind: "week", weekday: up(7), ...clock },
      { kind: "month", day: 1 + up(31), ...clock },
      { kind: "cron", fields: `${up(60)} ${up(24)} ${1 + up(28)} ${1 + up(12)} *` },
    ];
    for (const one of chosen) assert.deepEqual(readCadence(writeCadence(one)), one);
  }
});

test("any cadence keeps its text", () => {
  for (const text of ["cron:0 6 1,15 * *", "cron:*/15 * * * *", "cron:0 */5 * * *", "cron:0 */1 * * *", "cron:0 6 * jan *", "cron:0 6 1 * 1", "cron:0 6 32 * *", "cron:0 24 * * *", "cron:60 6 * * *", "cron:0 6 * * 8", "cron:x"]) {
    assert.equal(readCadence(text).kind, "cron", text);
    assert.equal(writeCadence(readCadence(text)), text);
  }
  assert.deepEqual(readCadence("cron: 5  6 * * SUN"), { kind: "week", weekday: 0, hour: 6, minute: 5 });
  assert.deepEqual(readCadence("cron:5 6 * * 7"), { kind: "week", weekday: 0, hour: 6, minute: 5 });
});

test("words say when", () => {
  assert.equal(cadenceWords("daily"), "every 24 hours");
  assert.equal(cadenceWords("cron:0 6 * * mon"), "every Monday at 06:00 UTC");
  assert.equal(cadenceWords("cron:5 * * * *"), "every hour at :05");
  assert.equal(cadenceWords("cron:0 7 * * 1-5"), "Monday to Friday at 07:00 UTC");
  assert.equal(cadenceWords("cron:0 6 28 * *"), "on day 28 of each month at 06:00 UTC");
  assert.equal(cadenceWords("cron:0 6 31 * *"), "on day 31 of each month that has one at 06:00 UTC");
  assert.equal(cadenceWords("cron:0 6 1,15 * *"), "at the minutes of cron 0 6 1,15 * *, UTC");
});

test("intervals count from the next slot", () => {
  assert.deepEqual(slotsAfter("every_6h", "2026-03-01T20:00:00Z", 2), ["2026-03-01T20:00:00.000Z", "2026-03-02T02:00:00.000Z"]);
  assert.equal(slotsAfter("cron:0 6 * * *", "2026-03-01T20:00:00Z", 2), null);
});

test("an instant is shown in both zones", () => {
  assert.equal(inBothZones("2026-03-02T06:00:00Z", "UTC"), "Mon 2 Mar, 06:00 UTC");
  assert.equal(inBothZones("2026-03-02T06:00:00Z", "Europe/Berlin"), "Mon 2 Mar, 06:00 UTC · 07:00 local");
  assert.equal(inBothZones("2026-03-02T23:30:00Z", "Europe/Berlin"), "Mon 2 Mar, 23:30 UTC · Tue 3 Mar, 00:30 local");
});
