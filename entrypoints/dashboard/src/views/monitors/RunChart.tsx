/** A figure over the runs of a monitor, one place for each run, with thresholds, states and coverage. */
import type { JSX } from "preact";
import { useId, useState } from "preact/hooks";
import type { MonitorResponse, PreviewedRunItem } from "../../api/types.d.ts";
import { fullInstant, instant, plural, score } from "../../lib/format.ts";
import { Button } from "../../ui/basics.tsx";
import { Head } from "../../ui/Head.tsx";
import { Link } from "../../ui/Link.tsx";
import { Line, Strip } from "../../ui/chart/Chart.tsx";
import { Coverage } from "../../ui/chart/Coverage.tsx";
import { State, runPath } from "./parts.tsx";

const HEIGHT = 100;

export interface Limit {
  value: number;
  label: string;
}

export function RunChart(props: { title: string; runs: readonly PreviewedRunItem[]; of: "mean" | "value"; limits: readonly Limit[]; hasStates: boolean; target: MonitorResponse["target_type"] }): JSX.Element {
  const { title, runs, of, limits, hasStates, target } = props;
  const id = useId();
  const [isTable, showTable] = useState(false);
  const values = runs.map((one) => one[of]);
  const x = (index: number): number => ((index + 0.5) / runs.length) * 100;
  const y = (value: number): number => HEIGHT - value * HEIGHT;
  const last = values.at(-1);
  // A run without a number is a dashed rule from top to bottom, and no point.
  const dot = (index: number): string => `M${x(index).toFixed(2)} ${values[index] === null ? `0V${HEIGHT}` : `${y(values[index]!).toFixed(1)}h.001`}`;
  const summary = `${plural(runs.length, "run")}, the last one ${last == null ? "without a number" : score(last)}`;
  if (runs.length === 0) return <p class="none">{title}: no finished run yet</p>;
  return (
    <figure class="chart run-chart" aria-labelledby={id}>
      <figcaption>
        <strong id={id}>{title}</strong>
        <span class="legend">
          {limits.map((one) => <span key={one.label}>{one.label} <b>{one.value}</b></span>)}
          <span>last <b>{score(last)}</b></span>
        </span>
        <Button class="link" aria-expanded={isTable} onClick={() => showTable(!isTable)}>{isTable ? "Chart" : "Table"}</Button>
      </figcaption>
      {isTable ? (
        <div class="numbers" tabIndex={0} role="region" aria-label={`${title}: table`}>
          <table class="plain-table">
            <Head of={["Run", "Value", ...(hasStates ? ["State"] : []), "Coverage"]} />
            <tbody>
              {runs.map((one) => (
                <tr key={one.run_id}>
                  <th scope="row" title={fullInstant(one.completed_at)}><Link href={runPath(target, one.run_id)}>{instant(one.completed_at)}</Link></th>
                  <td>{score(one[of])}</td>
                  {hasStates && <td><State value={one.state} /></td>}
                  <td><Coverage of={one} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div class="plot">
          <div class="y-axis" aria-hidden="true">
            {[1, 0.5, 0].map((one) => <span key={one} style={{ top: `${y(one)}%` }}>{one.toFixed(1)}</span>)}
          </div>
          <div class="canvas">
            <svg role="img" aria-label={`${title}: ${summary}`} viewBox={`0 0 100 ${HEIGHT}`} preserveAspectRatio="none">
              {[0, 0.5, 1].map((one) => <path key={one} class="rule" d={`M0 ${y(one)}H100`} />)}
              {limits.map((one) => <path key={one.label} class="limit" d={`M0 ${y(one.value)}H100`} />)}
              <Line tone={1} values={values} x={x} y={y} />
              {runs.map((one, index) => (
                <path key={one.run_id} class={values[index] === null ? "gap" : `dot ${hasStates ? `st-${one.state}` : ""}`} d={dot(index)}>
                  <title>{`${instant(one.completed_at)}: ${score(values[index])}${hasStates ? `, ${one.state.toLowerCase().replace("_", " ")}` : ""}`}</title>
                </path>
              ))}
            </svg>
            <Strip coverage={runs} />
            <div class="x-axis run-axis" aria-hidden="true">
              <span>{instant(runs[0]!.completed_at)}</span>
              {runs.length > 1 && <span>{instant(runs.at(-1)!.completed_at)}</span>}
            </div>
          </div>
        </div>
      )}
    </figure>
  );
}
