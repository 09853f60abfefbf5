/**
 * Times, durations, numbers and money as text. What is not known is `NONE`. Lists are formatted without
 * `Intl`, whose first use costs a page 12 ms of CPU.
 */
import { zone } from "./preferences.ts";

export const NONE = "—";
const HALF_YEAR_MS = 182 * 86_400_000;

export function count(value: number | null | undefined): string {
  if (value == null) return NONE;
  return grouped(String(Math.round(value * 1000) / 1000));
}

/** With commas between the thousands of the whole part. */
function grouped(number: string): string {
  return number.replace(/\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
}

export function plural(value: number, word: string, words = `${word}s`): string {
  return `${count(value)} ${value === 1 ? word : words}`;
}

/** Whether the character at `at` is the second half of one, such as of an emoji. */
export function isLowSurrogate(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xdc00;
}

/** At most the first `length` UTF-16 units of a text. No character is cut in half. */
export function startOf(text: string, length: number): string {
  return text.slice(0, isLowSurrogate(text, length) ? length - 1 : length);
}

/** A number of traces; if `isAtLeast`, there may be more. */
export function tracesText(total: number, isAtLeast = false): string {
  return `${isAtLeast ? "at least " : ""}${plural(total, "trace")}`;
}

/** A share of what was counted, which is more than none. All of it is 100 %, and nothing else is. */
export function percent(part: number, of: number): string {
  const share = (part / of) * 100;
  return `${share > 0 && share < 1 ? "under 1" : share < 100 && share > 99 ? "over 99" : Math.round(share)} %`;
}

/** A chosen share in percent, by its fourth digit. */
export function inPercent(share: number): number {
  return Math.round(share * 1e6) / 1e4;
}

/** A duration with three significant digits: `340 ms`, `1.25 s`, `2 min 5 s`, `3 h 12 min`. */
export function duration(ms: number | null | undefined): string {
  if (ms == null) return NONE;
  if (ms < 0) return `-${duration(-ms)}`;
  if (ms < 1) return ms === 0 ? "0 ms" : `${trim(ms.toPrecision(2))} ms`;
  if (ms < 999.5) return `${trim(ms.toPrecision(3))} ms`;
  if (ms < 59_950) return `${trim((ms / 1000).toPrecision(3))} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return join(Math.floor(seconds / 60), "min", seconds % 60, "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 48 * 60) return join(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(minutes / 60);
  return join(Math.floor(hours / 24), "d", hours % 24, "h");
}

/** Why there is no latency. */
export function latencyHint(of: { clock_skew: boolean; latency_ms: number | null }): string {
  if (of.clock_skew) return "It ended before it started: a clock is wrong";
  return of.latency_ms === null ? "No end was sent" : "";
}

function join(big: number, bigUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${big} ${bigUnit}` : `${big} ${bigUnit} ${small} ${smallUnit}`;
}

function trim(digits: string): string {
  const plain = digits.includes("e") ? String(Number(digits)) : digits;
  return plain.includes(".") ? plain.replace(/\.?0+$/, "") : plain;
}

export function bytes(value: number | null | undefined): string {
  if (value == null) return NONE;
  if (value < 1000) return `${value} B`;
  const units = ["kB", "MB", "GB"];
  let [size, at] = [value / 1000, 0];
  while (size >= 999.5 && at < units.length - 1) [size, at] = [size / 1000, at + 1];
  return `${trim(size.toPrecision(3))} ${units[at]}`;
}

/** A speed by two digits: `0.45 a minute`, `1,200 a minute`. */
export function speedText(perSecond: number): string {
  return `${count(Number((perSecond * 60).toPrecision(2)))} a minute`;
}

/** US dollars. With unpriced spans the sum is a lower bound; if all are unpriced, it is unknown. */
export function cost(usd: number | null | undefined, unpriced = 0): string {
  if (usd == null || (usd === 0 && unpriced > 0)) return NONE;
  if (usd > 0 && usd < 0.000001) return unpriced > 0 ? "> $0.00" : "< $0.000001";
  const digits = usd === 0 || usd >= 100 ? 2 : usd >= 0.01 ? 4 : 6;
  return `${unpriced > 0 ? "≥ " : ""}$${grouped(usd.toFixed(digits))}`;
}

export function costHint(usd: number | null | undefined, unpriced = 0): string {
  if (unpriced === 0) return "";
  const spans = plural(unpriced, "span has", "spans have");
  return usd ? `At least this much: ${spans} no price` : `Unknown: ${spans} no price`;
}

export interface Priced {
  unpriced_span_count: number;
  priced_span_count: number | null;
}

/** What share of the spans has a price: what a sum of costs is of. */
export function pricedText({ unpriced_span_count: unpriced, priced_span_count: priced }: Priced): string {
  if (priced === null) return unpriced === 0 ? "every span is priced" : `${plural(unpriced, "span has", "spans have")} no price`;
  const all = priced + unpriced;
  if (all === 0) return "no span with a cost";
  if (unpriced === 0) return `all of ${plural(all, "span")} priced`;
  return `${percent(priced, all)} of ${count(all)} spans priced`;
}

/** A number of scores, by thousandths. */
export function score(value: number | null | undefined): string {
  return value == null ? NONE : String(Math.round(value * 1000) / 1000);
}

/** `12.3k`, `4.5M`: for axes and tiles; tables have every digit. */
export function short(value: number): string {
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

/** Day, clock and milliseconds in the shown zone. */
function parts(at: Date): { day: string; clock: string; ms: string } {
  // The instant at which UTC shows what the clocks of this place show.
  const shown = zone.value === "utc" ? at : new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  const [day, rest] = shown.toISOString().split("T");
  return { day: day!, clock: rest!.slice(0, 8), ms: rest!.slice(9, 12) };
}

/** What clocks of the shown zone are called. */
export function zoneName(): string {
  return zone.value === "utc" ? "UTC" : "local time";
}

/** An instant as a field for date and time has it, in the shown zone. */
export function fieldOf(at: number): string {
  const { day, clock } = parts(new Date(at));
  return `${day}T${clock.slice(0, 5)}`;
}

/** The instant in ms that a field for a date, or for date and time, means in the shown zone; NaN for no such text. */
export function instantOf(field: string): number {
  const text = field.includes("T") ? field : `${field}T00:00`;
  return Date.parse(zone.value === "utc" ? `${text}Z` : text);
}

/** `2026-03-01 09:00:00`, without the date if it is today's. */
export function instant(value: string | number | null | undefined, now = Date.now()): string {
  if (value == null) return NONE;
  const at = new Date(value);
  if (Number.isNaN(at.getTime())) return String(value);
  const { day, clock } = parts(at);
  return day === parts(new Date(now)).day ? clock : `${day} ${clock}`;
}

/** For a narrow column: `09:00:00` today, `03-01 09:00` in the last half year, else `2026-03-01`. */
export function briefInstant(value: string | null, now = Date.now()): string {
  const text = instant(value, now);
  if (value === null || text.length < 19) return text;
  return Math.abs(now - Date.parse(value)) < HALF_YEAR_MS ? text.slice(5, 16) : text.slice(0, 10);
}

export function fullInstant(value: string | number | null | undefined): string {
  if (value == null) return NONE;
  const at = new Date(value);
  if (Number.isNaN(at.getTime())) return String(value);
  const { day, clock, ms } = parts(at);
  return `${day} ${clock},${ms} ${zone.value === "utc" ? "UTC" : "local"} · ${at.toISOString()}`;
}

const UNITS: readonly [name: string, seconds: number, next?: string, last?: string][] = [
  ["second", 1],
  ["minute", 60],
  ["hour", 3600],
  ["day", 86_400, "tomorrow", "yesterday"],
  ["month", 30 * 86_400, "next month", "last month"],
  ["year", 365 * 86_400, "next year", "last year"],
];

/** `5 minutes ago`, `yesterday`, `in 2 months`. */
export function ago(value: string | null | undefined, now = Date.now()): string {
  if (value == null) return NONE;
  const seconds = (new Date(value).getTime() - now) / 1000;
  // As it is rounded: 59.7 seconds are a minute.
  const at = UNITS.findIndex(([, size], index) => Math.round(Math.abs(seconds) / size) * size < (UNITS[index + 1]?.[1] ?? Infinity));
  const [name, size, next, last] = UNITS[at] ?? UNITS[0]!;
  const number = Math.round(seconds / size);
  if (number === 0) return "now"; // of seconds alone
  if (next !== undefined && Math.abs(number) === 1) return number > 0 ? next : last!;
  const text = plural(Math.abs(number), name);
  return number > 0 ? `in ${text}` : `${text} ago`;
}
