/** Axes of charts over time: round values, and instants at whole hours, days or months of the shown zone. */
import { ticks } from "./scale.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY, 365 * DAY];

const VALUES = 3; // about

/** Round values from 0 or below to at least `most`; of durations, if the length of a second is given. */
export function valueTicks(least: number, most: number, second?: number): number[] {
  if (!(most > least)) return [least];
  const found = ticks(least, most, VALUES, second);
  return found.length > 1 ? found : [least, most];
}

/** The texts of an axis with as many decimals as its values need, the same of each unit: `$0.00`, `$0.50`. */
export function evenDecimals(texts: readonly string[]): string[] {
  const parts = texts.map((text) => /^(.*?\d)(?:\.(\d+))?(\D*)$/.exec(text) ?? [text, text]);
  return parts.map(([, whole, digits = "", unit = ""]) => {
    const others = parts.filter((one) => (one[3] ?? "") === unit).map((one) => one[2] ?? "");
    const least = Math.min(...others.map((one) => one.length)); // money has cents
    const needed = Math.max(least, ...others.map((one) => one.replace(/0+$/, "").length));
    const decimals = digits.padEnd(needed, "0").slice(0, needed);
    return `${whole}${decimals && "."}${decimals}${unit}`;
  });
}

/** Instants in ms, at most about `wanted`. Days begin at midnight of the shown zone. */
export function timeTicks(from: number, to: number, wanted: number, isUtc: boolean): number[] {
  const step = STEPS.find((one) => (to - from) / one <= wanted) ?? STEPS.at(-1)!;
  const offset = (at: number): number => (isUtc ? 0 : new Date(at).getTimezoneOffset() * MINUTE);
  const found: number[] = [];
  // By what clocks show: where they change, a day has 23 or 25 hours.
  for (let shown = Math.ceil((from - offset(from)) / step) * step; ; shown += step) {
    const at = shown + offset(shown + offset(from));
    if (!(at <= to)) return found;
    found.push(at);
  }
}

/** `09:00` within two days, `03-01` within 300, else `2026-03`. */
export function tickText(at: number, from: number, to: number, isUtc: boolean): string {
  const span = to - from;
  const parts: Intl.DateTimeFormatOptions = span <= 2 * DAY ? { hour: "2-digit", minute: "2-digit" } : { year: "numeric", month: "2-digit", day: "2-digit" };
  const text = new Intl.DateTimeFormat("sv", { ...parts, ...(isUtc ? { timeZone: "UTC" } : {}) }).format(at);
  if (span <= 2 * DAY) return text;
  return span <= 300 * DAY ? text.slice(5) : text.slice(0, 7);
}

/** Stretches of a line without gaps: indexes of values that are numbers. */
export function runsOf(values: readonly (number | null)[]): number[][] {
  const found: number[][] = [];
  let open: number[] | null = null;
  for (const [index, value] of values.entries()) {
    if (value === null) open = null;
    else if (open === null) found.push((open = [index]));
    else open.push(index);
  }
  return found;
}
