/** What differs between two spans that were matched, from their outlines alone. */
import type { TraceOutline } from "./outline.ts";

export type Difference = "status" | "model" | "latency" | "tokens" | "cost" | "input size" | "output size";

const LATENCY_SHARE = 0.25; // a latency differs by more than a quarter,
const LATENCY_MIN_US = 50_000; // and by more than this

export function differences(left: TraceOutline, a: number, right: TraceOutline, b: number): Difference[] {
  const found: Difference[] = [];
  const word = (words: readonly string[], at: number | null | undefined): string | null => (at == null ? null : (words[at] ?? null));
  const status = (one: TraceOutline, at: number): string => `${word(one.statuses, one.status[at])} ${one.has_error[at]}`;
  if (status(left, a) !== status(right, b)) found.push("status");
  if (word(left.models, left.model[a]) !== word(right.models, right.model[b])) found.push("model");
  if (isOtherLatency(left.latency_us[a] ?? null, right.latency_us[b] ?? null)) found.push("latency");
  if (left.tokens[a] !== right.tokens[b]) found.push("tokens");
  if (left.cost[a] !== right.cost[b]) found.push("cost");
  if (left.input_bytes[a] !== right.input_bytes[b]) found.push("input size");
  if (left.output_bytes[a] !== right.output_bytes[b]) found.push("output size");
  return found;
}

/** A span that didn't end differs from one that did. */
function isOtherLatency(a: number | null, b: number | null): boolean {
  if (a === null || b === null) return a !== b;
  return Math.abs(a - b) > LATENCY_MIN_US && Math.abs(a - b) > LATENCY_SHARE * Math.max(a, b);
}

/** A difference with its sign, or null where a side is unknown. */
export function signed(left: number | null | undefined, right: number | null | undefined, format: (value: number) => string): string | null {
  if (left == null || right == null) return null;
  if (left === right) return "±0";
  return `${right > left ? "+" : "−"}${format(Math.abs(right - left))}`;
}
