/** Buckets of charts: what the service is asked for, and sums of groups. */
const HOUR = 3_600_000;
export const STEP_MS = { hour: HOUR, day: 24 * HOUR, week: 7 * 24 * HOUR } as const;

const NO_ZONE = "Etc/Unknown"; // Chromium's name for one that it can't tell, whose clocks show UTC
const SAMPLED_MS = 30 * 24 * HOUR; // clocks change half-yearly, and back

/**
 * The time zone whose days are the buckets: that of this browser if it is shown, and if its days start
 * with an hour of UTC all through the period, which are what the service counts.
 */
export function bucketZone(from: number, to: number, isUtc: boolean, name = Intl.DateTimeFormat().resolvedOptions().timeZone): string {
  if (isUtc || name === undefined || name === NO_ZONE) return "UTC";
  const isWhole = (at: number): boolean => new Date(at).getTimezoneOffset() % 60 === 0;
  for (let at = from; at < to; at += SAMPLED_MS) if (!isWhole(at)) return "UTC";
  return isWhole(to) ? name : "UTC";
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
