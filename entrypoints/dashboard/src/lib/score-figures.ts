/** What figures of scores say: what was covered, where the judge changed, who agrees with whom. */
import type { ScoreTrendItem } from "../api/types.d.ts";

export const TARGETS = ["trace", "span", "session"] as const;
export type Target = (typeof TARGETS)[number];

interface Counts {
  success_count: number;
  skipped_count: number;
  failed_count: number;
  pending_count: number;
}

export function coveredBy(of: Counts): { scored: number; skipped: number; failed: number; pending: number } {
  return { scored: of.success_count, skipped: of.skipped_count, failed: of.failed_count, pending: of.pending_count };
}

/** Buckets in which a fingerprint is there that the one before with numbers had not: numbers before can't be compared with those after. */
export function fingerprintChanges(points: readonly ScoreTrendItem[]): { at: number; label: string }[] {
  const found: { at: number; label: string }[] = [];
  let known: readonly string[] | null = null;
  for (const { bucket, fingerprints, count: numbers } of points) {
    if (numbers === 0) continue;
    const fresh = fingerprints.filter((one) => known !== null && !known.includes(one));
    const gone = known !== null && fingerprints.length === 0 && known.length > 0;
    if (fresh.length > 0 || gone) {
      const now = fresh.length > 0 ? fresh.map((one) => one.slice(0, 12)).join(", ") : "no fingerprint";
      found.push({ at: Date.parse(bucket), label: `The judge changed to ${now}: numbers before can't be compared with those after` });
    }
    known = fingerprints;
  }
  return found;
}

/** Values at the starts of buckets; null where there is no number. */
export function atStarts<P extends { bucket: string }, V>(points: readonly P[], starts: readonly number[], value: (point: P) => V): (V | null)[] {
  const found = new Map(points.map((one) => [Date.parse(one.bucket), one]));
  return starts.map((start) => {
    const point = found.get(start);
    return point === undefined ? null : value(point);
  });
}

/** What a judge had said before a person wrote over it; null if no person did, or the judge gave no value. */
export function originalOf(metadata: unknown): string | null {
  const known = (metadata as Record<string, unknown> | null)?.["original_value"];
  return typeof known === "string" ? known : null;
}

/** How often each code occurs, the most frequent first. */
export function codesOf(scores: readonly { metadata: unknown }[]): [string, number][] {
  const found = new Map<string, number>();
  for (const { metadata } of scores) {
    const code = String((metadata as Record<string, unknown> | null)?.["code"] ?? "no code");
    found.set(code, (found.get(code) ?? 0) + 1);
  }
  return [...found].sort((a, b) => b[1] - a[1]);
}
