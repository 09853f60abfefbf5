/** An experiment: its state, how much of it is scored, and its items. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, project, scopeHint } from "../../api/session.ts";
import type { CaseResultResponse, ExperimentItemResponse, ExperimentProgressResponse, PaginatedResponse_ExperimentResponse_ } from "../../api/types.d.ts";
import { NONE, ago, cost, count, duration, fullInstant, plural, startOf } from "../../lib/format.ts";
import { Button, Dialog, Empty, Loading, useTitle, Failed } from "../../ui/basics.tsx";
import { TITLE_LENGTH } from "../../ui/LongText.tsx";
import { Head } from "../../ui/Head.tsx";
import { Link } from "../../ui/Link.tsx";
import { Coverage } from "../../ui/chart/Coverage.tsx";
import { useSending } from "../../ui/Field.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { More, Paged } from "../../ui/table/Paged.tsx";
import { usePages } from "../../ui/table/usePages.ts";
import { datasetPath } from "../datasets/Datasets.tsx";
import { Brief, readItems } from "../datasets/Dataset.tsx";
import { experimentPath, nameOf } from "./Experiments.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const POLL_MS = 3000;

export function Experiment({ id }: { id: string }): JSX.Element {
  const path = `experiments/${id}`;
  const [, navigate] = useLocation();
  const [isMoving, setMoving] = useState(true);
  const found = useRead<ExperimentProgressResponse>(path, {}, { pollMs: isMoving ? POLL_MS : false });
  const one = found.data;
  const runs = one?.status === "PENDING" || one?.status === "RUNNING";
  if (one !== undefined && isMoving !== runs) setMoving(runs);
  const others = useRead<PaginatedResponse_ExperimentResponse_>("experiments", { dataset: one?.dataset, limit: 50 }, { enabled: one !== undefined });
  const items = usePages(`${path}/items`, {}, { read: readItems<ExperimentItemResponse> });
  const before = useRef(one);
  useEffect(() => {
    if (before.current) void invalidate(`${path}/items`); // results and scores came, which the items have too
    before.current = one;
  }, [one]);
  const [asking, ask] = useState<"close" | "delete" | null>(null);
  const sending = useSending();
  useTitle(one && nameOf(one), "Experiments", project.value?.name);
  useCurl("Experiment", "the experiment", path);
  if (found.isError) {
    return (
      <div class="page">
        <h1>Experiment</h1>
        <Failed of={found} />
        <Link href={projectPath("experiments")}>All experiments</Link>
      </div>
    );
  }
  if (one === undefined) return <Loading what="the experiment" />;
  const act = async (): Promise<void> => {
    const isDeleting = asking === "delete";
    const isDone = await sending.send(() => (isDeleting ? request("DELETE", path) : request("POST", `${path}/close`)));
    if (!isDone) return;
    ask(null);
    setMoving(true);
    await invalidate("experiments");
    if (isDeleting) navigate(projectPath("experiments"));
  };
  const hint = scopeHint("evaluate");
  const cases = one.items * one.repetitions;
  return (
    <div class="list-main scrolled">
      <header class="title">
        <h1>{nameOf(one)}</h1>
        <span class="tag" role="status">{one.status.toLowerCase()}</span>
        <select
          aria-label="Compare with another experiment"
          value=""
          onChange={(event) => {
            const base = event.currentTarget.value;
            event.currentTarget.value = "";
            navigate(experimentPath(base, id));
          }}
        >
          <option value="">Compare with …</option>
          <option value={id} disabled={one.repetitions < 2}>{one.repetitions < 2 ? "itself, which needs repetitions" : "itself: the noise floor"}</option>
          {others.data?.items.filter((other) => other.id !== id).map((other) => <option key={other.id} value={other.id}>{nameOf(other)}, {ago(other.created_at)}</option>)}
        </select>
        <span class="actions">
          {one.closed_at === null && <Button disabled={!may("evaluate")} title={hint} onClick={() => ask("close")}>Close and score …</Button>}
          <Button class="danger" disabled={!may("evaluate")} title={hint} onClick={() => ask("delete")}>Delete …</Button>
        </span>
      </header>
      <dl class="facts">
        <div><dt>Dataset</dt><dd><Link href={`${datasetPath(one.dataset)}?version=${one.version}`}>{one.dataset}, version {count(one.version_number)}</Link>{one.split && <span>· split {one.split}</span>}</dd></div>
        <div><dt>Started</dt><dd><time title={fullInstant(one.created_at)}>{ago(one.created_at)}</time></dd></div>
        {one.release && <div><dt>Release</dt><dd>{one.release}</dd></div>}
        {one.git.branch && <div><dt>Branch</dt><dd>{one.git.branch}</dd></div>}
        {one.git.sha && <div><dt>Commit</dt><dd><code>{one.git.sha.slice(0, 12)}</code></dd></div>}
        {one.git.pull_request && <div><dt>Pull request</dt><dd>{one.git.pull_request}</dd></div>}
        <div><dt>Judge</dt><dd>{one.model ?? "default"}{one.votes > 1 && `, ${one.votes} votes`}</dd></div>
        <div><dt>Judge cost</dt><dd>{cost(one.judge_cost_usd, one.unpriced_calls)}{one.max_cost_usd !== null && ` of at most ${cost(one.max_cost_usd)}`}</dd></div>
        <div><dt>Results</dt><dd>{count(one.results)} of {plural(cases, "case")}</dd></div>
      </dl>
      <p>
        {plural(one.items, "item")} × {plural(one.repetitions, "repetition")} × {plural(one.metrics.length, "metric")} = {plural(one.coverage.total, "score")}
        <Coverage of={one.coverage} />
      </p>
      <Paged of={items} what="items" empty={<Empty title="This version has no items any more" />}>
        {() => (
        <div class="scroll-x">
          <table class="plain-table items">
            <Head of={["Item", "Input", "Expected", ...one.metrics.map((metric) => `#${metric}`), "#Latency", "#Cost", "Traces"]} />
            <tbody>
              {items.rows.map((row) => (
                <tr key={row.item}>
                  <th scope="row">{row.item}</th>
                  <td><Brief value={row.input} /></td>
                  <td>{row.expected === null ? NONE : <Brief value={row.expected} />}</td>
                  {one.metrics.map((metric) => <td key={metric} class="c-number"><CaseScores results={row.results} metric={metric} missing={row.missing} /></td>)}
                  <td class="c-number">{duration(meanOf(row.results.map((result) => result.latency_ms)))}</td>
                  <td class="c-number">{cost(meanOf(row.results.map((result) => result.cost_usd)))}</td>
                  <td><CaseLinks results={row.results} missing={row.missing} /></td>
                </tr>
              ))}
            </tbody>
          </table>
          <More of={items} />
        </div>
        )}
      </Paged>
      {asking && (
        <Dialog title={asking === "close" ? "Close the experiment?" : "Delete the experiment?"} close={() => ask(null)}>
          <p>{asking === "close" ? `It takes no more results then, and a run scores ${plural(one.results, "result")}. ${plural(cases - one.results, "case is", "cases are")} missing.` : "The binding of traces to items is deleted. Traces, run and scores stay."}</p>
          <p class="actions">
            <Button autoFocus onClick={() => ask(null)}>Cancel</Button>
            <Button class={asking === "delete" ? "danger" : "main"} disabled={sending.isBusy} onClick={() => void act()}>{asking === "close" ? "Close and score" : "Delete"}</Button>
          </p>
          <Failed of={sending} />
        </Dialog>
      )}
    </div>
  );
}

export function meanOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((one) => one !== null);
  return known.length === 0 ? null : known.reduce((sum, one) => sum + one, 0) / known.length;
}

/** The mean over repetitions, and why some have no number. */
export function CaseScores({ results, metric, missing }: { results: readonly CaseResultResponse[]; metric: string; missing: number }): JSX.Element {
  const scores = results.flatMap((one) => one.scores.filter((score) => score.metric === metric));
  const numbers = scores.map((one) => (one.value === null || Number.isNaN(Number(one.value)) ? null : Number(one.value)));
  const mean = meanOf(numbers);
  const others = scores.filter((one) => one.value === null);
  const reasons = startOf([...new Set(scores.map((one) => one.reason ?? one.code ?? one.outcome))].join("\n"), TITLE_LENGTH);
  const scored = numbers.filter((one) => one !== null).length;
  return (
    <span title={reasons}>
      {mean === null ? NONE : <b>{mean.toFixed(2)}</b>}
      {(others.length > 0 || missing > 0 || scored !== results.length) && <small> {[scored > 0 && `${scored} scored`, ...new Set(others.map((one) => one.code ?? one.outcome)), missing > 0 && `${missing} missing`].filter(Boolean).join(", ") || "not scored"}</small>}
    </span>
  );
}

export function CaseLinks({ results, missing }: { results: readonly CaseResultResponse[]; missing: number }): JSX.Element {
  return (
    <span class="links">
      {results.map((one) => <Link key={one.trace_id} href={projectPath(`traces/${one.trace_id}`)} aria-label={`Trace of repetition ${one.repetition}`}>{one.repetition}</Link>)}
      {missing > 0 && <small>{missing} missing</small>}
    </span>
  );
}
