/** Buckets of charts: what the service is asked for, and sums of groups. */
const HOUR = 3_600_000;
export const STEP_MS = { hour: HOUR, day: 24 * HOUR, week: 7 * 24 * HOUR } as const;

/**
 * The time zone whose days are the buckets: that of this browser if it is shown, and if its days start
 * with an hour of UTC in the period, which are what the service counts.
 */
export function bucketZone(from: number, to: number, isUtc: boolean): string {
  if (isUtc) return "UTC";
  const isWhole = [from, to].every((at) => new Date(at).getTimezoneOffset() % 60 === 0);
  return isWhole ? (Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC") : "UTC";
}

export const BARS_MAX = 400;

/** The length of the buckets of a histogram: at most BARS_MAX days, where the first and the last may be cut off. */
export function unitOf(from: number, to: number): keyof typeof STEP_MS {
  return to - from <= 3 * STEP_MS.day ? "hour" : to - from <= (BARS_MAX - 1) * STEP_MS.day ? "day" : "week";
}

interface Bounds {
  started_after: string;
  started_before: string;
}

export function boundsOf(period: { from: number; to: number }): Bounds {
  return { started_after: new Date(period.from).toISOString(), started_before: new Date(period.to).toISOString() };
}

/** The parameters of figures by bucket, empty ones too. */
export function bucketsOf(period: { from: number; to: number; granularity: keyof typeof STEP_MS }, isUtc: boolean): Bounds & Record<string, string | boolean> {
  const { from, to, granularity } = period;
  return { ...boundsOf(period), granularity, tz: bucketZone(from, to, isUtc), fill: true };
}

/** Starts of the buckets in UTC that a period touches; weeks start on Mondays. */
export function utcStarts(from: number, to: number, granularity: keyof typeof STEP_MS): number[] {
  const step = STEP_MS[granularity];
  const monday = granularity === "week" ? 4 * STEP_MS.day : 0; // 1970-01-05
  const found: number[] = [];
  for (let at = Math.floor((from - monday) / step) * step + monday; at < to; at += step) found.push(at);
  return found;
}

/** The sum of one field of groups that have the same buckets, by bucket. */
export function summed<B>(groups: readonly { buckets: readonly B[] }[], field: (bucket: B) => number | null): number[] {
  const size = groups[0]?.buckets.length ?? 0;
  return Array.from({ length: size }, (_, at) => groups.reduce((sum, one) => sum + (field(one.buckets[at]!) ?? 0), 0));
}
