/** What a figure is of: how many were scored, skipped, failed, and are still to come. */
import type { JSX } from "preact";
import { count, plural } from "../../lib/format.ts";

export interface Covered {
  scored: number;
  skipped: number;
  failed: number;
  pending?: number;
  missing?: number; // not even tried
}

export const COVERAGE_PARTS = ["scored", "skipped", "failed", "pending"] as const;
const SHOWN = [...COVERAGE_PARTS, "missing"] as const;

export function coverageText(of: Covered): string {
  const whole = SHOWN.reduce((sum, part) => sum + (of[part] ?? 0), 0);
  if (whole === 0) return "nothing to score";
  const parts = SHOWN.filter((part) => part === "scored" || of[part]);
  return parts.map((part) => `${count(of[part] ?? 0)} ${part}`).join(", ");
}

/** A bar, with the numbers as its text. `compact` leaves the text to the tooltip and to screen readers. */
export function Coverage({ of, compact }: { of: Covered; compact?: boolean }): JSX.Element {
  const whole = SHOWN.reduce((sum, part) => sum + (of[part] ?? 0), 0);
  const text = coverageText(of);
  let at = 0;
  return (
    <span class="coverage" title={`${text} of ${plural(whole, "target")}`}>
      <svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
        {SHOWN.map((part) => {
          const width = whole === 0 ? 0 : ((of[part] ?? 0) / whole) * 100;
          const bar = width > 0 && <rect key={part} class={`part-${part}`} x={at} width={width} height={6} />;
          at += width;
          return bar;
        })}
      </svg>
      <small class={compact ? "sr" : ""}>{text}</small>
    </span>
  );
}
