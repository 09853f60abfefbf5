/** What several views of monitors show: states, rules in words, the next runs of a cadence. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useRead } from "../../api/queries.ts";
import type { AlertResponse, AlertState, CadenceResponse, EvalRunResponse, MonitorResponse } from "../../api/types.d.ts";
import { inBothZones, slotsAfter } from "../../lib/chart/cadence.ts";
import { ago, count, fullInstant, NONE, plural } from "../../lib/format.ts";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";

export type AlertFigure = AlertResponse["figure"];

export const FIGURES: Record<AlertFigure, { label: string; bad: "below" | "above" | null; hint: string }> = {
  score_mean: { label: "mean score", bad: "below", hint: "the mean of a run’s scores" },
  pass_rate: { label: "pass rate", bad: "below", hint: "the share of a run’s scores that reach the metric’s own threshold" },
  failed_share: { label: "share that failed", bad: "above", hint: "evaluations that failed, of all" },
  skipped_share: { label: "share that was skipped", bad: "above", hint: "evaluations that were skipped, of all" },
  drop: { label: "drop of the mean", bad: "above", hint: "below the mean of up to five runs before" },
  no_data: { label: "missing data", bad: null, hint: "the run has too few scores, or there was nothing to run" },
};

const STATES: Record<AlertState, { word: string; shape: string }> = {
  ALERTING: { word: "alerting", shape: "▲" },
  NO_DATA: { word: "no data", shape: "?" },
  OK: { word: "ok", shape: "✓" },
};

export function State({ value }: { value: AlertState }): JSX.Element {
  const { word, shape } = STATES[value];
  return (
    <span class={`alert-state st-${value}`}>
      <span aria-hidden="true">{shape}</span> {word}
    </span>
  );
}

/** A rule as a sentence without its metric. */
export function ruleWords(of: Pick<AlertResponse, "figure" | "threshold" | "clear_at" | "samples_min" | "breaches" | "recoveries">): string {
  const { label, bad } = FIGURES[of.figure];
  if (bad === null) return `${label}: fewer than ${plural(of.samples_min, "score")}${of.breaches > 1 ? `, ${of.breaches} runs in a row` : ""}`;
  const clear = of.clear_at === of.threshold ? "" : `, ok again at ${of.clear_at}`;
  const times = of.breaches > 1 ? `, ${of.breaches} runs in a row` : "";
  const back = of.recoveries > 1 ? `, ok after ${of.recoveries} runs` : "";
  return `${label} ${bad} ${of.threshold}${times}${clear}${back}, with at least ${plural(of.samples_min, "score")}`;
}

/** When a monitor runs next, three times, in UTC and in local time. */
export function NextRuns({ of, most = 3 }: { of: MonitorResponse; most?: number }): JSX.Element {
  const known = of.next_run_at === null ? [] : slotsAfter(of.cadence, of.next_run_at, most);
  const asked = useRead<CadenceResponse>("evaluations/monitors/cadence", { cadence: of.cadence, count: most }, { enabled: known === null });
  if (of.next_run_at === null || of.status === "PAUSED") return <span class="none">{NONE} paused</span>;
  return <Times of={known ?? asked.data?.runs_at ?? [of.next_run_at]} />;
}

export function Times({ of }: { of: readonly string[] }): JSX.Element {
  return (
    <ol class="times">
      {of.map((one) => (
        <li key={one}>
          <time dateTime={one} title={fullInstant(one)}>{inBothZones(one)}</time>
        </li>
      ))}
    </ol>
  );
}

const POLL_MS = 3000;

/** The last run of a monitor, and what came of it. */
export function LastRun({ of }: { of: MonitorResponse }): JSX.Element {
  const path = `evaluations/${of.target_type === "TRACE" ? "trace" : "session"}-runs/${of.last_run_id}`;
  const [isOver, setOver] = useState(false);
  const run = useRead<EvalRunResponse>(path, {}, { enabled: of.last_run_id !== null, pollMs: isOver ? false : POLL_MS });
  const status = run.data?.status;
  useEffect(() => setOver(run.isError || (status !== undefined && status !== "RUNNING" && status !== "PENDING")), [status, run.isError]);
  const empty = of.empty_slots > 0 && <small>{plural(of.empty_slots, "slot")} without targets</small>;
  if (of.last_run_id === null) return <><span class="none">{NONE} has not run yet</span>{empty}</>;
  return (
    <>
      <span title={fullInstant(of.last_run_at)}>{ago(of.last_run_at)}</span>
      {run.data && (
        <small>
          <Link href={runPath(of.target_type, run.data.id)}>{runWords(run.data)}</Link>
        </small>
      )}
      {run.isError && <small>deleted</small>}
      {empty}
    </>
  );
}

/** The address of the view of a run. */
export function runPath(of: MonitorResponse["target_type"], run: string): string {
  return projectPath(`runs/${of === "TRACE" ? "traces" : "sessions"}/${run}`);
}

export function runWords(run: EvalRunResponse): string {
  const parts = [`${count(run.evaluated_count)} of ${plural(run.total_targets, run.target_type === "TRACE" ? "trace" : "session")}`];
  if (run.failed_count > 0) parts.push(`${plural(run.failed_count, "score")} failed`);
  if (run.skipped_count > 0) parts.push(`${plural(run.skipped_count, "score")} skipped`);
  return `${run.status.toLowerCase()}: ${parts.join(", ")}`;
}
