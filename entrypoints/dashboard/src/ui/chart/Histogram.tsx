/** Traces of a period that match the filters, by hour or day, failures marked. Buckets are cut in UTC. */
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { useRead } from "../../api/queries.ts";
import type { AnalyticsBucket } from "../../api/types.d.ts";
import { filterQuery, PERIODS } from "../../lib/filters.ts";
import { count, instant, plural } from "../../lib/format.ts";
import type { UrlState } from "../../url/state.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const DAYS = 30; // without a period
const HEIGHT = 44;

/** It is asked for once `enabled`: when the rows are painted, which need no wait for it. */
export function Histogram({ url, now, enabled }: { url: UrlState; now: number; enabled: boolean }): JSX.Element | null {
  const { params, update } = url;
  const period = PERIODS.find((one) => one.id === params.get("period"));
  const after = params.get("started_after");
  const before = params.get("started_before");
  const end = before ? Date.parse(before) : now;
  const start = after ? Date.parse(after) : end - (period?.ms ?? DAYS * DAY);
  const step = end - start <= 3 * DAY ? HOUR : DAY;
  const first = Math.floor(start / step) * step;
  const size = Math.max(1, Math.min(400, Math.ceil((end - first) / step)));
  const [drag, setDrag] = useState<[number, number] | null>(null);
  const svg = useRef<SVGSVGElement>(null);
  const { query: words, ...filters } = filterQuery(params);
  const asked = {
    metric: "volume",
    granularity: step === HOUR ? "hour" : "day",
    started_after: new Date(first).toISOString(),
    started_before: new Date(Math.ceil(end / 60_000) * 60_000).toISOString(),
  };
  // Words can't be counted, and filters that match too many traces are refused: then it counts all.
  const matching = useRead<AnalyticsBucket[]>("traces/analytics", { ...filters, ...asked }, { keepPrevious: true, enabled });
  const all = useRead<AnalyticsBucket[]>("traces/analytics", asked, { keepPrevious: true, enabled: enabled && matching.isError });
  const answer = matching.isError ? all : matching;
  const isOfAll = words !== undefined || matching.isError;
  if (!answer.data) return <div class="histogram" />;
  const buckets = new Map(answer.data.map((one) => [Date.parse(one.bucket), one]));
  const bars = Array.from({ length: size }, (_, index) => buckets.get(first + index * step));
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
        started_after: new Date(first + low * step).toISOString(),
        started_before: new Date(first + (high + 1) * step).toISOString(),
        period: null,
      },
      { push: true },
    );
  };
  const within = period || after ? "" : `in ${DAYS} days `; // there may be older ones
  const unit = `${within}by ${step === HOUR ? "hour" : "day (UTC)"}`;
  const note = isOfAll ? (words === undefined ? ", filters not applied" : ", not searched for the words") : "";
  return (
    <figure class="histogram">
      <svg
        ref={svg}
        role="img"
        aria-label={`${plural(total, "trace")} ${unit}, ${count(failed)} of them failed${note}`}
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
          const label = `${instant(first + index * step)}: ${plural(one?.trace_count ?? 0, "trace")}, ${count(one?.error_count ?? 0)} failed`;
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
        <span>{instant(first)}</span>
        <span>
          {plural(total, "trace")} {unit} · {count(failed)} failed{note}
        </span>
        <span>{instant(end)}</span>
      </figcaption>
    </figure>
  );
}
