/** Traces of a period that match the filters, by hour, day or week, failures marked. Buckets are cut in UTC. */
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { useRead } from "../../api/queries.ts";
import type { AnalyticsBucket } from "../../api/types.d.ts";
import { filterQuery, periodStart } from "../../lib/filters.ts";
import { count, instant, plural } from "../../lib/format.ts";
import { BARS_MAX, STEP_MS, unitOf, utcStarts } from "../../lib/chart/buckets.ts";
import type { UrlState } from "../../url/state.ts";
import { useNow } from "../useNow.ts";

const DAY = STEP_MS.day;
const DAYS = 30; // without a period
const HEIGHT = 44;

/** It is asked for once `enabled`: when the rows are painted, which need no wait for it. */
export function Histogram({ url, now, enabled }: { url: UrlState; now: number; enabled: boolean }): JSX.Element | null {
  const { params, update } = url;
  const period = periodStart(params.get("period"), now);
  const after = params.get("started_after");
  const before = params.get("started_before");
  const [latest] = useNow(true);
  const end = before ? Date.parse(before) : Math.max(now, latest); // the list has what came since
  const since = after ?? period;
  const start = since ? Date.parse(since) : Math.floor(end / DAY - DAYS) * DAY;
  const unit = unitOf(start, end);
  const step = STEP_MS[unit];
  const starts = utcStarts(start, Math.max(end, start + 1), unit).slice(-BARS_MAX);
  const size = starts.length;
  const [drag, setDrag] = useState<[number, number] | null>(null);
  const svg = useRef<SVGSVGElement>(null);
  const { query: words, ...filters } = filterQuery(params);
  const asked = {
    metric: "volume",
    granularity: unit,
    started_after: new Date(start).toISOString(), // as the list: not the whole first bucket
    started_before: before ?? new Date(Math.ceil(end / 60_000) * 60_000).toISOString(),
  };
  // Words can't be counted, and filters that match too many traces are refused: then it counts all.
  const matching = useRead<AnalyticsBucket[]>("traces/analytics", { ...filters, ...asked }, { keepPrevious: true, enabled });
  const all = useRead<AnalyticsBucket[]>("traces/analytics", asked, { keepPrevious: true, enabled: enabled && matching.isError });
  const answer = matching.isError ? all : matching;
  const isOfAll = words !== undefined || matching.isError;
  if (!answer.data) return <div class="histogram" />;
  const buckets = new Map(answer.data.map((one) => [Date.parse(one.bucket), one]));
  const bars = starts.map((one) => buckets.get(one));
  const most = Math.max(1, ...bars.map((one) => one?.trace_count ?? 0));
  const total = bars.reduce((sum, one) => sum + (one?.trace_count ?? 0), 0);
  const failed = bars.reduce((sum, one) => sum + (one?.error_count ?? 0), 0);
  const at = (event: MouseEvent): number => {
    const box = svg.current!.getBoundingClientRect();
    return Math.max(0, Math.min(size - 1, Math.floor(((event.clientX - box.left) / box.width) * size)));
  };
  const narrow = (from: number, to: number): void => {
    const [low, high] = from < to ? [from, to] : [to, from];
    update(
      {
        started_after: new Date(Math.max(start, starts[low]!)).toISOString(),
        started_before: new Date(Math.min(before ? end : Infinity, starts[high]! + step)).toISOString(),
        period: null,
      },
      { push: true },
    );
  };
  const within = since ? "" : `in ${DAYS} days `; // there may be older ones
  const by = `${within}by ${unit}${unit === "hour" ? "" : " (UTC)"}`;
  const note = isOfAll ? (words === undefined ? ", filters not applied" : ", not searched for the words") : "";
  return (
    <figure class="histogram">
      <svg
        ref={svg}
        role="img"
        aria-label={`${plural(total, "trace")} ${by}, ${count(failed)} of them failed${note}`}
        viewBox={`0 0 ${size} ${HEIGHT}`}
        preserveAspectRatio="none"
        onPointerDown={(event) => setDrag([at(event), at(event)])}
        onPointerMove={(event) => drag && setDrag([drag[0], at(event)])}
        onPointerUp={() => {
          if (drag) narrow(...drag);
          setDrag(null);
        }}
        onPointerLeave={() => setDrag(null)}
      >
        {bars.map((one, index) => {
          const all = ((one?.trace_count ?? 0) / most) * (HEIGHT - 2);
          const bad = ((one?.error_count ?? 0) / most) * (HEIGHT - 2);
          const label = `${instant(starts[index])}: ${plural(one?.trace_count ?? 0, "trace")}, ${count(one?.error_count ?? 0)} failed`;
          return (
            <g key={index}>
              <rect class="hit" x={index} y={0} width={1} height={HEIGHT}>
                <title>{label}</title>
              </rect>
              {all > 0 && <rect class="bar" x={index + 0.08} y={HEIGHT - Math.max(1.5, all)} width={0.84} height={Math.max(1.5, all)} />}
              {bad > 0 && <rect class="bad" x={index + 0.08} y={HEIGHT - Math.max(1.5, bad)} width={0.84} height={Math.max(1.5, bad)} />}
            </g>
          );
        })}
        {drag && (
          <rect class="brush" x={Math.min(...drag)} width={Math.abs(drag[0] - drag[1]) + 1} y={0} height={HEIGHT} />
        )}
      </svg>
      <figcaption>
        <span>{instant(start)}</span>
        <span>
          {plural(total, "trace")} {by} · {count(failed)} failed{note}
        </span>
        <span>{instant(end)}</span>
      </figcaption>
    </figure>
  );
}
