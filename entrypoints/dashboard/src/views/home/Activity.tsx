/** What happened in a project lately: asked for once its card is in sight. */
import { useQuery } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import type { Project } from "../../api/session.ts";
import type { AnalyticsBucket, TraceListItem } from "../../api/types.d.ts";
import { ago, count, fullInstant, NONE, percent, plural } from "../../lib/format.ts";

const HOUR = 3_600_000;
const DAYS = 7;
const BAR_HOURS = 6;
const BARS = (DAYS * 24) / BAR_HOURS;
const HEIGHT = 24;

interface Page {
  items: TraceListItem[];
}

export function Activity({ project }: { project: Project }): JSX.Element {
  const box = useRef<HTMLSpanElement>(null);
  const [isSeen, see] = useState(false);
  const [end] = useState(() => Math.ceil(Date.now() / HOUR) * HOUR);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((one) => one.isIntersecting)) see(true);
    });
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  const headers = { "X-Project-ID": project.id, "X-Organization-ID": project.organizationId };
  const week = useQuery<AnalyticsBucket[]>({
    queryKey: [project.id, "week", end],
    queryFn: ({ signal }) =>
      request("GET", "traces/analytics", {
        query: { metric: "volume", granularity: "hour", started_after: new Date(end - DAYS * 24 * HOUR).toISOString(), started_before: new Date(end).toISOString() },
        headers,
        signal,
      }),
    enabled: isSeen,
  });
  const last = useQuery<Page>({
    queryKey: [project.id, "last trace"],
    queryFn: ({ signal }) => request("GET", "traces", { query: { limit: 1 }, headers, signal }),
    enabled: isSeen,
  });
  const newest = last.data?.items[0];
  return (
    <span class="activity" ref={box}>
      {(week.isError || last.isError) && <small class="bad-text">{(week.error ?? last.error)?.message}</small>}
      {week.data && <Week buckets={week.data} end={end} />}
      {last.data && (
        <small title={newest ? fullInstant(newest.started_at) : ""}>{newest ? `last trace ${ago(newest.started_at)}` : "no trace yet"}</small>
      )}
    </span>
  );
}

function Week({ buckets, end }: { buckets: readonly AnalyticsBucket[]; end: number }): JSX.Element {
  const bars = Array.from({ length: BARS }, () => ({ traces: 0, failed: 0 }));
  const day = { traces: 0, failed: 0 };
  for (const one of buckets) {
    const hours = (end - Date.parse(one.bucket)) / HOUR;
    const bar = bars[BARS - Math.ceil(hours / BAR_HOURS)];
    for (const sum of [bar, ...(hours <= 24 ? [day] : [])]) {
      if (!sum) continue;
      sum.traces += one.trace_count;
      sum.failed += one.error_count;
    }
  }
  const most = Math.max(1, ...bars.map((one) => one.traces));
  const traces = bars.reduce((sum, one) => sum + one.traces, 0);
  const path = (of: "traces" | "failed"): string =>
    bars.map((one, index) => (one[of] === 0 ? "" : `M${index * 4} ${HEIGHT}v-${Math.max(1, (one[of] / most) * HEIGHT).toFixed(1)}h3V${HEIGHT}z`)).join("");
  return (
    <>
      <svg class="week" viewBox={`0 0 ${BARS * 4} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${plural(traces, "trace")} in ${DAYS} days`}>
        <path d={path("traces")} />
        <path class="bad" d={path("failed")} />
      </svg>
      <span>
        {count(day.traces)} in 24 h, {day.traces === 0 ? `${NONE} failed` : <span class={day.failed > 0 ? "bad-text" : ""}>{percent(day.failed, day.traces)} failed</span>}
      </span>
    </>
  );
}
