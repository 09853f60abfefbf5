/** A difference between −1 and 1 with its interval, drawn against 0. */
import type { JSX } from "preact";
import { NONE } from "../../lib/format.ts";

export function number(value: number | null | undefined, isSigned = false): string {
  if (value == null) return NONE;
  const text = Math.abs(value).toFixed(3);
  if (value < 0) return `−${text}`;
  return isSigned && value > 0 ? `+${text}` : text;
}

interface IntervalProps {
  low: number;
  high: number;
  value: number;
  limit?: number | undefined;
  text?: (value: number) => string;
}

/** `limit` is where a rule is broken. The bar is as wide as the interval needs. */
export function Interval({ low, high, value, limit, text = (one) => number(one, true) }: IntervalProps): JSX.Element {
  const reach = Math.max(0.05, ...[low, high, limit ?? 0].map(Math.abs)) * 1.1;
  const x = (at: number): number => 50 + (at / reach) * 50;
  return (
    <span class="interval">
      <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
        <rect class="range" x={x(low)} width={Math.max(1, x(high) - x(low))} y={3} height={4} />
        <rect class="zero" x={49.7} width={0.6} height={10} />
        {limit !== undefined && <rect class="limit" x={x(limit) - 0.4} width={0.8} height={10} />}
        <rect class="point" x={x(value) - 0.8} width={1.6} y={1} height={8} />
      </svg>
      <small>{text(low)} to {text(high)}</small>
    </span>
  );
}
