/**
 * A chart over time in SVG: stacked bars, lines with gaps where nothing was measured, bands, marks,
 * a strip with the coverage of each bucket. Colours come from the style sheet, so themes change by
 * themselves. Arrow keys move the cursor, which all charts of a page share; a table shows the numbers.
 */
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useId, useRef, useState } from "preact/hooks";
import { evenDecimals, runsOf, tickText, timeTicks, valueTicks } from "../../lib/chart/axis.ts";
import { NONE, count, instant } from "../../lib/format.ts";
import { zone } from "../../lib/preferences.ts";
import { Button } from "../basics.tsx";
import { COVERAGE_PARTS, coverageText, type Covered } from "./Coverage.tsx";

export interface Series {
  label: string;
  values: readonly (number | null)[]; // one for each bucket; null if nothing was measured
  tone: 1 | 2 | 3 | 4 | 5 | 6 | "bad" | "good" | "muted";
  as?: "line" | "bar"; // bars stand upon each other
  band?: { low: readonly (number | null)[]; high: readonly (number | null)[] };
}

interface ChartProps {
  title: string;
  summary: string; // one sentence: what a person would see in it
  times: readonly number[]; // starts of the buckets in ms, ascending
  step: number; // ms of a bucket
  series: readonly Series[];
  text?: (value: number) => string;
  second?: number; // how long it is in the values, if they are durations
  most?: number; // top of the axis; 1 for scores
  coverage?: readonly Covered[];
  marks?: readonly { at: number; label: string }[]; // instants in ms
  limits?: readonly { value: number; label: string }[]; // for example a threshold
  /** A press on a bucket, or dragging over several: from the first start to the last end, in ms. */
  onRange?: (from: number, to: number) => void;
}

/** The instant under the cursor, in all charts of the page. */
const cursor = signal<number | null>(null);
const WIDTH = 1000; // units of the view box, stretched to the width of the page
const HEIGHT = 120;
const STRIP = 14;
const TIME_TICKS = 6;
const EDGE = 25; // units from an end within which no text fits below the axis

export function Chart(props: ChartProps): JSX.Element {
  const { title, summary, times, step, series, coverage, limits = [], onRange } = props;
  const text = props.text ?? count;
  const id = useId();
  const isUtc = zone.value === "utc";
  const [isTable, showTable] = useState(false);
  const [drag, setDrag] = useState<[number, number] | null>(null);
  const plot = useRef<SVGSVGElement>(null);
  const [from, to] = [times[0] ?? 0, (times.at(-1) ?? 0) + step];
  const marks = (props.marks ?? []).filter((one) => from <= one.at && one.at <= to);
  const bars = series.filter((one) => one.as === "bar");
  const lines = series.filter((one) => one.as !== "bar");
  const heights = times.map((_, index) => bars.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
  const known = [...heights, ...lines.flatMap((one) => [...one.values, ...(one.band?.high ?? [])]), ...limits.map((one) => one.value)];
  const rows = valueTicks(0, props.most ?? Math.max(0, ...known.map((one) => one ?? 0)), props.second);
  const labels = evenDecimals(rows.map((one) => text(one)));
  const most = Math.max(props.most ?? 0, rows.at(-1) ?? 0, ...known.map((one) => one ?? 0));
  const x = (at: number): number => ((at - from) / (to - from)) * WIDTH;
  const y = (value: number): number => HEIGHT - (value / (most || 1)) * HEIGHT;
  const middle = (index: number): number => x(times[index]! + step / 2);
  const here = cursor.value === null ? -1 : times.findIndex((start) => start <= cursor.value! && cursor.value! < start + step);
  const indexAt = (event: MouseEvent): number => {
    const box = plot.current!.getBoundingClientRect();
    const at = from + ((event.clientX - box.left) / box.width) * (to - from);
    const found = times.findLastIndex((start) => start <= at);
    return Math.max(0, found);
  };
  const choose = (one: number, other: number): void => {
    const [low, high] = one < other ? [one, other] : [other, one];
    onRange?.(times[low]!, times[high + 1] ?? times[high]! + step); // a day has 23 or 25 hours where clocks change
  };
  const valuesAt = (index: number): string =>
    [...series.map((one) => `${one.label} ${shown(one.values[index], text)}`), ...(coverage?.[index] ? [coverageText(coverage[index])] : [])].join(", ");
  if (times.length === 0) return <p class="none">{NONE} nothing in this period</p>;
  return (
    <figure class="chart" aria-labelledby={id}>
      <figcaption>
        <strong id={id}>{title}</strong>
        <span class="legend">
          {series.map((one) => (
            <span key={one.label}>
              <i class={`tone-${one.tone}`} aria-hidden="true" /> {one.label} {here >= 0 && <b>{shown(one.values[here], text)}</b>}
            </span>
          ))}
          {here >= 0 && <time>{instant(times[here])}</time>}
        </span>
        <Button class="link" aria-expanded={isTable} onClick={() => showTable(!isTable)}>
          {isTable ? "Chart" : "Table"}
        </Button>
      </figcaption>
      {isTable ? (
        <Numbers {...props} text={text} />
      ) : (
        <div class="plot">
          <div class="y-axis" aria-hidden="true">
            {rows.map((one, index) => (
              <span key={one} style={{ top: `${(y(one) / HEIGHT) * 100}%` }}>{labels[index]}</span>
            ))}
          </div>
          <div class="canvas">
            <svg
              ref={plot}
              role="img"
              aria-label={`${title}: ${summary}`}
              viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
              preserveAspectRatio="none"
              class={onRange ? "can-choose" : ""}
              onPointerDown={(event) => onRange && setDrag([indexAt(event), indexAt(event)])}
              onPointerMove={(event) => {
                const index = indexAt(event);
                cursor.value = times[index]! + step / 2;
                if (drag) setDrag([drag[0], index]);
              }}
              onPointerUp={() => {
                if (drag) choose(...drag);
                setDrag(null);
              }}
              onPointerLeave={() => {
                cursor.value = null;
                setDrag(null);
              }}
            >
              {rows.map((one) => <path key={one} class="rule" d={`M0 ${y(one)}H${WIDTH}`} />)}
              {here >= 0 && <rect class="cursor" x={x(times[here]!)} width={x(from + step)} height={HEIGHT} />}
              {bars.map((one, level) => (
                <path
                  key={one.label}
                  class={`bar tone-${one.tone}`}
                  d={times
                    .map((start, index) => {
                      const value = one.values[index] ?? 0;
                      if (value === 0) return "";
                      const below = bars.slice(0, level).reduce((sum, other) => sum + (other.values[index] ?? 0), 0);
                      const width = Math.max(x(from + step) * 0.86, 0.5);
                      return `M${(x(start) + x(from + step) * 0.07).toFixed(1)} ${y(below).toFixed(1)}V${y(below + value).toFixed(1)}h${width.toFixed(1)}V${y(below).toFixed(1)}z`;
                    })
                    .join("")}
                />
              ))}
              {lines.map((one) => one.band && <Band key={one.label} series={one} x={middle} y={y} />)}
              {limits.map((one) => <path key={one.label} class="limit" d={`M0 ${y(one.value)}H${WIDTH}`} />)}
              {lines.map((one) => <Line key={one.label} tone={one.tone} values={one.values} x={middle} y={y} />)}
              {marks.map((one) => <path key={`${one.at} ${one.label}`} class="change" d={`M${x(one.at)} 0V${HEIGHT}`}><title>{one.label}</title></path>)}
              {drag && <rect class="brush" x={x(times[Math.min(...drag)]!)} width={x(from + step) * (Math.abs(drag[0] - drag[1]) + 1)} height={HEIGHT} />}
            </svg>
            {marks.map((one) => <span key={`${one.at} ${one.label}`} class="change-label" title={one.label} style={{ left: `${x(one.at) / 10}%` }}>◆</span>)}
            {coverage && <Strip coverage={coverage} />}
            <input
              type="range"
              aria-label={`${title}: move through the buckets`}
              min={0}
              max={times.length - 1}
              value={Math.max(0, here)}
              aria-valuetext={`${instant(times[Math.max(0, here)])}: ${valuesAt(Math.max(0, here))}`}
              onInput={(event) => (cursor.value = times[Number(event.currentTarget.value)]! + step / 2)}
              onFocus={() => (cursor.value ??= times[0]! + step / 2)}
              onKeyDown={(event) => event.key === "Enter" && here >= 0 && choose(here, here)}
            />
            <div class="x-axis" aria-hidden="true">
              {timeTicks(from, to, TIME_TICKS, isUtc).filter((one) => x(one) >= EDGE && x(one) <= WIDTH - EDGE).map((one) => (
                <span key={one} style={{ left: `${x(one) / 10}%` }}>{tickText(one, from, to, isUtc)}</span>
              ))}
            </div>
          </div>
        </div>
      )}
      {limits.length > 0 && <p class="hint">{limits.map((one) => `${one.label}: ${text(one.value)}`).join(" · ")}</p>}
    </figure>
  );
}

function shown(value: number | null | undefined, text: (value: number) => string): string {
  return value == null ? NONE : text(value);
}

/** One stretch for each run of numbers; a single number is a dot, so that it can be seen. */
export function Line({ tone, values, x, y }: { tone: Series["tone"]; values: readonly (number | null)[]; x: (index: number) => number; y: (value: number) => number }): JSX.Element {
  let [lines, dots] = ["", ""];
  for (const run of runsOf(values)) {
    const points = run.map((index) => `${x(index).toFixed(1)} ${y(values[index]!).toFixed(1)}`);
    if (points.length === 1) dots += `M${points[0]}h0`;
    else lines += `M${points.join("L")}`;
  }
  return (
    <g class={`tone-${tone}`}>
      <path class="line" d={lines} />
      <path class="line dots" d={dots} />
    </g>
  );
}

function Band({ series, x, y }: { series: Series; x: (index: number) => number; y: (value: number) => number }): JSX.Element {
  const { low, high } = series.band!;
  const path = runsOf(low.map((one, index) => (high[index] === null ? null : one)))
    .map((run) => {
      const top = run.map((index) => `${x(index).toFixed(1)} ${y(high[index]!).toFixed(1)}`);
      const bottom = run.map((index) => `${x(index).toFixed(1)} ${y(low[index]!).toFixed(1)}`).reverse();
      return `M${[...top, ...bottom].join("L")}z`;
    })
    .join("");
  return <path class={`band tone-${series.tone}`} d={path} />;
}

/** Stacked counts of each bucket: what its figure is of. */
export function Strip({ coverage }: { coverage: readonly Covered[] }): JSX.Element {
  const whole = coverage.map((one) => COVERAGE_PARTS.reduce((sum, part) => sum + (one[part] ?? 0), 0));
  const most = Math.max(1, ...whole);
  const width = WIDTH / coverage.length;
  return (
    <svg class="strip" viewBox={`0 0 ${WIDTH} ${STRIP}`} preserveAspectRatio="none" aria-hidden="true">
      {COVERAGE_PARTS.map((part, level) => (
        <path
          key={part}
          class={`part-${part}`}
          d={coverage
            .map((one, index) => {
              const size = ((one[part] ?? 0) / most) * STRIP;
              if (size === 0) return "";
              const below = COVERAGE_PARTS.slice(0, level).reduce((sum, other) => sum + (one[other] ?? 0), 0);
              const foot = STRIP - (below / most) * STRIP;
              return `M${((index + 0.07) * width).toFixed(1)} ${foot.toFixed(2)}v-${Math.max(1, size).toFixed(2)}h${(width * 0.86).toFixed(1)}V${foot.toFixed(2)}z`;
            })
            .join("")}
        />
      ))}
    </svg>
  );
}

function Numbers(props: ChartProps & { text: (value: number) => string }): JSX.Element {
  const { times, series, coverage, text } = props;
  return (
    <div class="numbers" tabIndex={0} role="region" aria-label={`${props.title}: table`}>
      <table class="plain-table">
        <thead>
          <tr>
            <th scope="col">From</th>
            {series.map((one) => <th key={one.label} scope="col">{one.label}</th>)}
            {coverage && <th scope="col">Coverage</th>}
          </tr>
        </thead>
        <tbody>
          {times.map((start, index) => (
            <tr key={start}>
              <th scope="row">{instant(start)}</th>
              {series.map((one) => <td key={one.label}>{shown(one.values[index], text)}</td>)}
              {coverage && <td>{coverage[index] ? coverageText(coverage[index]) : NONE}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Values from 0 to 1 as a line of a few pixels' height without axes; the sentence says what it shows. */
export function Sparkline({ values, summary }: { values: readonly (number | null)[]; summary: string }): JSX.Element {
  const y = (value: number): number => 22 - value * 20;
  const x = (index: number): number => ((index + 0.5) / Math.max(1, values.length)) * 100;
  return (
    <svg class="sparkline" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={summary}>
      <Line tone={1} values={values} x={x} y={y} />
    </svg>
  );
}
