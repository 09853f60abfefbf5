/** Small trends of the scores of traces that are used most, each with its coverage. */
import type { UseQueryResult } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useRead } from "../../api/queries.ts";
import type { ScoreSummaryItem, ScoreTrendItem } from "../../api/types.d.ts";
import { STEP_MS, utcStarts } from "../../lib/chart/buckets.ts";
import { NONE, plural } from "../../lib/format.ts";
import { Sparkline } from "../../ui/chart/Chart.tsx";
import { Coverage } from "../../ui/chart/Coverage.tsx";
import type { Period } from "../../ui/chart/Period.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { Link } from "../../ui/Link.tsx";

const NAMES = 6;

export interface Trend {
  summary: ScoreSummaryItem;
  values: (number | null)[];
}

/** Two requests: all names of the period, and the trends of the first ones. */
export function useScoreTrends(period: Period): { reads: UseQueryResult<unknown>[]; items: Trend[] } {
  const { from, to, granularity } = period;
  const dates = { date_from: new Date(from).toISOString(), date_to: new Date(to).toISOString() };
  const summary = useRead<ScoreSummaryItem[]>("evaluations/analytics/trace-scores/summary", dates, { keepPrevious: true });
  const used = (one: ScoreSummaryItem): number => one.success_count + one.skipped_count + one.failed_count;
  const most = [...(summary.data ?? [])].sort((a, b) => used(b) - used(a)).slice(0, NAMES);
  const names = most.map((one) => one.metric_name);
  const trend = useRead<ScoreTrendItem[]>("evaluations/analytics/trace-scores/trend", { metric_name: names, granularity, ...dates }, { enabled: names.length > 0, keepPrevious: true });
  const starts = utcStarts(from, to, granularity);
  const step = STEP_MS[granularity];
  const items = most.map((one) => {
    const values: (number | null)[] = starts.map(() => null);
    for (const point of trend.data ?? []) {
      const at = Math.floor((Date.parse(point.bucket) - starts[0]!) / step); // of another period while the next one loads
      if (point.metric_name === one.metric_name && at in values) values[at] = point.avg_score;
    }
    return { summary: one, values };
  });
  return { reads: names.length > 0 ? [summary, trend] : [summary], items };
}

export function ScoreTrends({ trends, query }: { trends: readonly Trend[]; query: string }): JSX.Element {
  if (trends.length === 0) return <p class="none">No trace was scored in this period.</p>;
  return (
    <ul class="trends">
      {trends.map(({ summary: one, values }) => (
        <li key={one.metric_name} class="trend">
          <div>
            <Link href={`${projectPath(`scores/${encodeURIComponent(one.metric_name)}`)}?${query}`}>{one.metric_name}</Link>
            <span title={one.count === 0 ? "No number" : `The mean of ${plural(one.count, "number")}`}>
              {one.avg_score === null ? NONE : one.avg_score.toFixed(2)} {one.judge_kind === "heuristic" && <span class="tag">heuristic</span>}
            </span>
          </div>
          <Sparkline values={values} summary={`${one.metric_name}: mean of ${plural(one.count, "number")} over time`} />
          <Coverage of={{ scored: one.success_count, skipped: one.skipped_count, failed: one.failed_count, pending: one.pending_count }} />
        </li>
      ))}
    </ul>
  );
}
