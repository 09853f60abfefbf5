/** A run: its progress by metric, what it costs, why scores failed, and the scores. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, project, scopeHint } from "../../api/session.ts";
import type { EvalRunResponse, MetricSummaryResponse, RunSummaryResponse, SessionScoreResponse, TraceScoreResponse } from "../../api/types.d.ts";
import { ago, cost, count, duration, fullInstant, inPercent, NONE, percent, plural, speedText } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { announce, Button, Dialog, Empty, Loading, useTitle, Failed, Select } from "../../ui/basics.tsx";
import { Reason } from "../../ui/LongText.tsx";
import { Link } from "../../ui/Link.tsx";
import { Coverage } from "../../ui/chart/Coverage.tsx";
import { useSending } from "../../ui/Field.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState, type UrlState } from "../../url/state.ts";
import { againQuery, RUNS, SCORES, type Of } from "../../lib/run-form.ts";
import { CancelRun, isOver, POLL_MS, Progress, RunState } from "./parts.tsx";
import { More, Paged, Total } from "../../ui/table/Paged.tsx";
import { usePages } from "../../ui/table/usePages.ts";
import { Head } from "../../ui/Head.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const LARGE = 5_000; // scores: the summary of a run with more is read less often
const SLOWER = 5; // times
const EXAMPLES = 6; // codes of which an example is shown
const SPEED_MS = 60_000; // the speed is that of the last minute

export function Run({ of, id }: { of: Of; id: string }): JSX.Element {
  const url = useUrlState();
  const path = `${RUNS[of]}/${encodeURIComponent(id)}`;
  const [isDone, setDone] = useState(false);
  const answer = useRead<EvalRunResponse>(path, {}, { pollMs: isDone ? false : POLL_MS });
  const run = answer.data;
  const size = run ? run.total_targets * run.metric_names.length : 0;
  const summary = useRead<RunSummaryResponse>(`${path}/summary`, {}, { pollMs: isDone ? false : size > LARGE ? POLL_MS * SLOWER : POLL_MS });
  const status = run?.status;
  useEffect(() => {
    if (status === undefined) return;
    const over = isOver(status);
    setDone(over);
    if (over) void invalidate(`${path}/summary`); // the last scores came after it was read
  }, [status]);
  const before = useRef(status);
  useEffect(() => {
    if (before.current && status && before.current !== status) announce(`The run is ${status.toLowerCase()}`);
    before.current = status;
  }, [status]);
  useTitle(run ? (run.name ?? "Run") : null, "Runs", project.value?.name);
  useCurl("Run", "the run", path);
  if (answer.isError) {
    return (
      <div class="page">
        <h1>Run</h1>
        <Failed of={answer} />
        <Link href={projectPath("runs")}>All runs</Link>
      </div>
    );
  }
  if (run === undefined) return <Loading what="the run" />;
  return (
    <div class="page run">
      <Title run={run} of={of} path={path} url={url} />
      <Facts run={run} metrics={summary.data?.metrics} />
      {run.waiting_for && (
        <p class="banner" role="status">
          {plural(run.waiting_for.targets, "target waits", "targets wait")}: <Reason text={run.waiting_for.reason} />. The next one is tried again {ago(run.waiting_for.until)}.
        </p>
      )}
      {run.error_message && <p class="problem"><Reason text={run.error_message} /></p>}
      <Failed of={summary} />
      {summary.isPending && <Loading what="the metrics" />}
      {summary.data && <ByMetric of={of} metrics={summary.data.metrics} url={url} />}
      {summary.data && <Codes of={of} id={id} metrics={summary.data.metrics} url={url} />}
      <div hidden={summary.isPending}>
        <ScoreList of={of} id={id} run={run} url={url} isDone={isDone} />
      </div>
      {url.params.get("dialog") === "delete" && <DeleteRun run={run} path={path} of={of} close={() => url.update({ dialog: null })} />}
    </div>
  );
}

function Title({ run, of, path, url }: { run: EvalRunResponse; of: Of; path: string; url: UrlState }): JSX.Element {
  const [, navigate] = useLocation();
  const [key] = useState(() => crypto.randomUUID());
  const sending = useSending();
  const again = againQuery(run);
  const allowed = may("evaluate");
  const retry = (): Promise<boolean> =>
    sending.send(async () => {
      const made = await request<EvalRunResponse>("POST", `${path}/retry`, { headers: { "Idempotency-Key": key } });
      announce("Started a run of what failed");
      void invalidate(RUNS[of]);
      navigate(`${projectPath("runs")}/${of}/${made.id}`);
    });
  const canRetry = isOver(run.status) && run.failed_count > 0;
  useCommands([
    { keys: "r", label: "Retry what failed", group: "Run", run: () => canRetry && allowed && void retry() },
    { keys: "d", label: "Delete the run", group: "Run", run: () => (allowed ? url.update({ dialog: "delete" }) : announce(scopeHint("evaluate"))) },
  ]);
  return (
    <header class="title">
      <h1>{run.name ?? run.metric_names.join(", ")}</h1>
      <RunState status={run.status} />
      <span class="actions">
        {!isOver(run.status) && <CancelRun path={path} />}
        {canRetry && (
          <Button class="main" disabled={sending.isBusy || !allowed} title={scopeHint("evaluate")} onClick={() => void retry()}>
            Retry {plural(run.failed_count, "failed score")}
          </Button>
        )}
        {again !== null && <Link class="button" href={`${projectPath("runs")}/new?${again}`}>Another like it</Link>}
        <Button class="danger" disabled={!allowed} title={scopeHint("evaluate")} onClick={() => url.update({ dialog: "delete" })}>
          Delete …
        </Button>
      </span>
      <Failed of={sending} />
    </header>
  );
}

/** Targets a second over the last minute, or since the start; null while nothing is known. */
function useSpeed(run: EvalRunResponse): number | null {
  const seen = useRef<{ at: number; done: number }[]>([]);
  const now = Date.now();
  const last = seen.current.at(-1);
  if (last === undefined || last.done !== run.evaluated_count) seen.current = [...seen.current.filter((one) => now - one.at < SPEED_MS), { at: now, done: run.evaluated_count }];
  const first = seen.current[0]!;
  const [done, ms] = seen.current.length > 1 ? [run.evaluated_count - first.done, now - first.at] : [run.evaluated_count, now - Date.parse(run.created_at)];
  return done > 0 && ms > 0 ? (done / ms) * 1000 : null;
}

function Facts({ run, metrics }: { run: EvalRunResponse; metrics: readonly MetricSummaryResponse[] | undefined }): JSX.Element {
  const speed = useSpeed(run);
  const spent = metrics?.reduce((sum, one) => sum + one.cost_usd, 0);
  const unpriced = metrics?.reduce((sum, one) => sum + one.unpriced_calls, 0) ?? 0;
  const left = run.total_targets - run.evaluated_count;
  const took = run.completed_at === null ? null : Date.parse(run.completed_at) - Date.parse(run.created_at);
  const what = run.target_type === "SESSION" ? "Sessions" : "Traces";
  return (
    <section aria-label="Progress" class="run-facts">
      <Progress run={run} />
      <dl class="facts">
        <div><dt>{what} done</dt><dd>{count(run.evaluated_count)} of {count(run.total_targets)}</dd></div>
        {took === null ? (
          <>
            <div><dt>Speed</dt><dd>{speed === null ? <span title="No target is done yet">{NONE}</span> : speedText(speed)}</dd></div>
            <div><dt>Time left</dt><dd>{speed === null ? <span title="No target is done yet">{NONE}</span> : `about ${duration((left / speed) * 1000)}`}</dd></div>
          </>
        ) : (
          <div><dt>Took</dt><dd>{duration(took)}</dd></div>
        )}
        <div>
          <dt>Cost {isOver(run.status) ? "" : "so far"}</dt>
          <dd>
            <span title={unpriced > 0 ? `${plural(unpriced, "call has", "calls have")} no price` : ""}>{cost(spent, unpriced)}</span>
            {run.max_cost_usd === null ? " · no limit" : ` of at most ${cost(run.max_cost_usd)}`}
          </dd>
        </div>
        <div><dt>Model</dt><dd>{run.model ?? NONE}</dd></div>
        <div><dt>Votes</dt><dd>{count(run.votes)}</dd></div>
        {run.sampling_rate < 1 && <div><dt>Share</dt><dd>{inPercent(run.sampling_rate)} %</dd></div>}
        <div><dt>Started</dt><dd><time title={fullInstant(run.created_at)}>{ago(run.created_at)}</time>{run.monitor_id !== null && <Link href={`${projectPath("monitors")}/${run.monitor_id}`}>by a monitor</Link>}</dd></div>
        <div><dt>{what}</dt><dd>{filtersText(run.filters)}</dd></div>
      </dl>
    </section>
  );
}

/** The filters as they were given; of named targets only how many. */
function filtersText(filters: Record<string, unknown>): string {
  const { retry_of: first, ...others } = filters; // the failed scores of another run
  const parts = Object.entries(others).map(([name, value]) => {
    if (Array.isArray(value) && name.endsWith("_ids")) return `${count(value.length)} by id`;
    return `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`;
  });
  const text = parts.length === 0 ? "all" : parts.join(" · ");
  return first === undefined ? text : `${text}, again`;
}

function ByMetric({ of, metrics, url }: { of: Of; metrics: readonly MetricSummaryResponse[]; url: UrlState }): JSX.Element {
  return (
    <div class="wide-table" tabIndex={0} role="region" aria-label="Progress by metric">
      <table class="plain-table by-metric">
        <Head of={["Metric", "Coverage", "#Mean", "#Passed", "Judge", "#Calls", "#Cost"]} />
        <tbody>
          {metrics.map((one) => (
            <tr key={one.metric}>
              <th scope="row">
                <Button class="link" aria-pressed={url.params.get("name") === one.metric} title="Show only its scores" onClick={() => url.update({ name: url.params.get("name") === one.metric ? null : one.metric, code: null })}>
                  {one.metric}
                </Button>
                {one.is_signal && <small> signal of traces</small>}
                {!one.is_signal && <Link class="more-of" href={`${projectPath("metrics")}/${one.metric}?of=${of}`}><small>metric</small></Link>}
              </th>
              <td><Coverage of={one} /></td>
              <td class="c-number">
                {one.mean === null ? <span title={one.scored > 0 ? "People changed all of its values" : "Nothing is scored"}>{NONE}</span> : one.mean.toFixed(3)}
                <small> of {count(one.counted)}</small>
              </td>
              <td class="c-number">{one.passed === null ? <span title={one.counted === 0 ? "Nothing is scored" : "It has no threshold"}>{NONE}</span> : <span title={`${count(one.passed)} of ${count(one.counted)} reach ${one.threshold ?? "their thresholds"}`}>{percent(one.passed, one.counted)}</span>}</td>
              <td>{one.judge_kind ?? <span class="none" title="No judge gave a number">{NONE}</span>}</td>
              <td class="c-number">
                {count(one.calls)}
                {one.cache_hits > 0 && <small> + {count(one.cache_hits)} remembered</small>}
              </td>
              <td class="c-number">{cost(one.cost_usd, one.unpriced_calls)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface CodeCount {
  code: string;
  total: number;
  metrics: string[];
}

function Codes({ of, id, metrics, url }: { of: Of; id: string; metrics: readonly MetricSummaryResponse[]; url: UrlState }): JSX.Element | null {
  const found = new Map<string, CodeCount>();
  for (const { metric, codes, is_signal: isSignal } of metrics) {
    if (isSignal && of === "sessions") continue; // its scores are of traces, and not in this list
    for (const [code, total] of Object.entries(codes)) {
      const known = found.get(code) ?? { code, total: 0, metrics: [] };
      found.set(code, { code, total: known.total + total, metrics: [...known.metrics, metric] });
    }
  }
  if (found.size === 0) return null;
  const inOrder = [...found.values()].sort((one, other) => other.total - one.total);
  return (
    <section aria-labelledby="why">
      <h2 id="why">Why there is no number</h2>
      <ul class="codes">
        {inOrder.map((one, index) => (
          <CodeRow key={one.code} of={of} id={id} row={one} url={url} hasExample={index < EXAMPLES} />
        ))}
      </ul>
    </section>
  );
}

type Score = TraceScoreResponse | SessionScoreResponse;

function CodeRow({ of, id, row, url, hasExample }: { of: Of; id: string; row: CodeCount; url: UrlState; hasExample: boolean }): JSX.Element {
  const examples = useRead<{ items: Score[] }>(SCORES[of], { eval_run_id: id, code: row.code, limit: 1 }, { enabled: hasExample });
  const example = examples.data?.items[0];
  const isShown = url.params.get("code") === row.code;
  return (
    <li>
      <Button aria-pressed={isShown} onClick={() => url.update({ code: isShown ? null : row.code, name: null, outcome: null })}>
        {row.code} <strong>{count(row.total)}</strong>
      </Button>
      {example && <span class={`o-${example.outcome}`}><Reason text={example.reason} /></span>}
      <small>{row.metrics.join(", ")}</small>
      {example && <TargetLink score={example} text="an example" />}
    </li>
  );
}

function TargetLink({ score, text }: { score: Score; text?: string }): JSX.Element {
  if ("session_id" in score) return <Link href={`${projectPath("sessions")}/${encodeURIComponent(score.session_id)}`}>{text ?? score.session_id}</Link>;
  return <Link href={`${projectPath("traces")}/${score.trace_id}?tab=scores`}>{text ?? `${score.trace_id.slice(0, 8)}…`}</Link>;
}

const OUTCOMES = ["scored", "skipped", "failed", "pending"] as const;

function ScoreList({ of, id, run, url, isDone }: { of: Of; id: string; run: EvalRunResponse; url: UrlState; isDone: boolean }): JSX.Element {
  const { params, update } = url;
  const query = { eval_run_id: id, name: params.get("name") ?? undefined, outcome: params.get("outcome") ?? undefined, code: params.get("code") ?? undefined };
  const isFiltered = Boolean(query.name ?? query.outcome ?? query.code);
  const pages = usePages<Score>(SCORES[of], query, { keepPrevious: true });
  const before = useRef(isDone);
  useEffect(() => {
    if (before.current !== isDone) void pages.refetch(); // the last scores came
    before.current = isDone;
  }, [isDone]);
  return (
    <section aria-labelledby="scores">
      <div class="title">
        <h2 id="scores">Scores</h2>
        <Total of={pages} what="score" class="hint" />
        <Select aria-label="Metric" value={query.name} choose={(value) => update({ name: value || null })} options={[["", "All metrics"], ...[...new Set([...run.metric_names, ...(query.name ? [query.name] : [])])]]} />
        <Select aria-label="Outcome" value={query.outcome} choose={(value) => update({ outcome: value || null, code: null })} options={[["", "Any outcome"], ...OUTCOMES]} />
        {query.code && <span class="chip">{query.code}<Button class="quiet" icon="close" label={`Drop ${query.code}`} onClick={() => update({ code: null })} /></span>}
        {!isDone && <Button class="link" onClick={() => void pages.refetch()}>Read again</Button>}
      </div>
      <Paged
        of={pages}
        what="scores"
        empty={
          <Empty title={isFiltered ? "No score matches" : run.status === "PENDING" ? "Its scores appear when a worker begins" : "It has no scores"}>
            {isFiltered && <Button onClick={() => update({ name: null, outcome: null, code: null })}>Show all</Button>}
          </Empty>
        }
      >
        {() => (
          <div class="wide-table" tabIndex={0} role="region" aria-label="Scores of the run">
            <table class="plain-table">
              <Head of={[of === "traces" ? "Trace" : "Session", "Metric", "#Value", "Reason", "Judge", "#Cost"]} />
              <tbody>
                {pages.rows.map((score) => (
                  <tr key={score.id}>
                    <th scope="row"><TargetLink score={score} /></th>
                    <td>{score.name}</td>
                    <td class={`c-number o-${score.outcome}`}>{score.value ?? `${NONE} ${score.outcome}`}</td>
                    <td><Reason text={score.reason} /></td>
                    <td>{textOf(score.metadata.judge_kind) ?? <span class="none">{NONE}</span>}</td>
                    <td class="c-number"><ScoreCost metadata={score.metadata} /></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Paged>
      <More of={pages} />
    </section>
  );
}

function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function ScoreCost({ metadata }: { metadata: Record<string, unknown> }): JSX.Element {
  if (metadata.cache === "hit") return <span title="A remembered verdict cost nothing">remembered</span>;
  const usage = metadata.usage as { usd?: unknown } | undefined;
  const usd = typeof usage?.usd === "number" ? usage.usd : null;
  return <span title={usage ? "" : "No judge was asked"}>{usd === null ? NONE : cost(usd)}</span>;
}

function DeleteRun({ run, path, of, close }: { run: EvalRunResponse; path: string; of: Of; close: () => void }): JSX.Element {
  const [, navigate] = useLocation();
  const [withScores, setWith] = useState(false);
  const sending = useSending();
  const act = async (): Promise<void> => {
    const isDeleted = await sending.send(() => request("DELETE", path, { query: { delete_scores: withScores } }));
    if (!isDeleted) return;
    announce("Deleted the run");
    navigate(`${projectPath("runs")}${of === "traces" ? "" : `?of=${of}`}`);
    void invalidate("evaluations");
  };
  return (
    <Dialog title="Delete the run" close={close}>
      <p>
        {run.name ?? run.metric_names.join(", ")}, over {plural(run.total_targets, of === "traces" ? "trace" : "session")}.{!isOver(run.status) && " It is cancelled first."}
      </p>
      <label class="check">
        <input type="checkbox" checked={withScores} onChange={() => setWith(!withScores)} /> Delete its scores too
      </label>
      <p class="hint">{withScores ? "Its scores are gone from traces and figures. This can’t be undone." : "Its scores stay, without a run."}</p>
      <p class="actions">
        <Button autoFocus onClick={close}>Keep it</Button>
        <Button class="danger" disabled={sending.isBusy} onClick={() => void act()}>
          {withScores ? "Delete the run and its scores" : "Delete the run"}
        </Button>
      </p>
      <Failed of={sending} />
    </Dialog>
  );
}
