/** Figures of scores as text. What was not measured has no number. */
import type { ScoreSummaryItem } from "../../api/types.d.ts";
import { NONE, count, percent } from "../../lib/format.ts";

/** A mean with two digits; never one of nothing. */
export function meanText(value: number | null): string {
  return value === null ? NONE : value.toFixed(2);
}

export function passText(of: { passed_count: number | null; threshold_count: number }): string {
  return of.passed_count === null ? NONE : `${percent(of.passed_count, of.threshold_count)} of ${count(of.threshold_count)}`;
}

export function thresholdText(of: ScoreSummaryItem): string {
  const { min_threshold: least, max_threshold: most } = of;
  if (least === null || most === null) return NONE;
  return least === most ? String(least) : `${least} to ${most}`;
}
