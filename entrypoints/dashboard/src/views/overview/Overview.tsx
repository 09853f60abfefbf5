/** What happened in a project in a period: volume, latency, cost, scores, failures, what runs now. */
import type { JSX } from "preact";
import { useRead } from "../../api/queries.ts";
import { project } from "../../api/session.ts";
import type { AlertResponse, AnalyticsBucket, ErrorGroupResponse, EvalRunResponse, SpanAnalyticsResponse, TokenCostGroup } from "../../api/types.d.ts";
import { boundsOf, bucketsOf, bucketZone, STEP_MS, summed } from "../../lib/chart/buckets.ts";
import { ago, cost, count, duration, NONE, percent, plural, pricedText, score, short, startOf } from "../../lib/format.ts";
import { zone } from "../../lib/preferences.ts";
import { Empty, useTitle } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Chart } from "../../ui/chart/Chart.tsx";
import { ownPeriod, PeriodPicker, usePeriod, type Period } from "../../ui/chart/Period.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState } from "../../url/state.ts";
import { Money, Panel, Tile, TracesLink } from "./parts.tsx";
import { ScoreTrends, useScoreTrends } from "./ScoreTrends.tsx";
import { Head } from "../../ui/Head.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const SHOWN = 5; // of errors, tools, runs and alerts
const MODELS = 10;
const POLL_MS = 30_000;
const RUNS_POLL_MS = 10_000;

interface Page<T> {
  items: T[];
  total: number;
}

export function Overview(): JSX.Element {
  useTitle("Overview", project.value?.name);
  const url = useUrlState();
  const period = usePeriod(url, "24h", true);
  const buckets = bucketsOf(period, zone.value === "utc");
  const bounds = boundsOf(period);
  const keep = { keepPrevious: true };
  const volume = useRead<AnalyticsBucket[]>("traces/analytics", { metric: "latency", ...buckets }, keep);
  const usage = useRead<TokenCostGroup[]>("traces/analytics", { metric: "cost", by: "model", limit: MODELS, ...buckets }, keep);
  const errors = useRead<Page<ErrorGroupResponse>>("errors", { ...bounds, sort_by: "count", limit: SHOWN }, keep);
  const tools = useRead<SpanAnalyticsResponse>("analytics/spans", { ...bounds, kind: "TOOL", group_by: "name", sort_by: "errors", limit: SHOWN }, keep);
  const traceRuns = useRead<Page<EvalRunResponse>>("evaluations/trace-runs", { status: "RUNNING", limit: SHOWN }, { pollMs: RUNS_POLL_MS });
  const sessionRuns = useRead<Page<EvalRunResponse>>("evaluations/session-runs", { status: "RUNNING", limit: SHOWN }, { pollMs: RUNS_POLL_MS });
  const alerts = useRead<Page<AlertResponse>>("evaluations/alerts", { state: "ALERTING", limit: SHOWN }, { pollMs: POLL_MS });
  const trends = useScoreTrends(period);
  useCurl("Overview", "the figures", "traces/analytics", { metric: "latency", ...buckets });
  const usagePage = `${projectPath("usage")}?${period.query}`;
  const choose = (from: number, to: number): void => url.update(ownPeriod(from, to), { push: true });
  const rows = volume.data ?? [];
  const groups = usage.data ?? [];
  const traces = rows.reduce((sum, one) => sum + one.trace_count, 0);
  const failed = rows.reduce((sum, one) => sum + one.error_count, 0);
  const axis = { step: STEP_MS[period.granularity], onRange: choose };
  const times = rows.map((one) => Date.parse(one.bucket));
  const usageTimes = groups[0]?.buckets.map((one) => Date.parse(one.bucket)) ?? [];
  const whole = totalOf(groups);
  const runs = [...(traceRuns.data?.items ?? []), ...(sessionRuns.data?.items ?? [])];
  return (
    <div class="page">
      <header class="title">
        <h1>Overview</h1>
        <PeriodPicker url={url} period={period} fallback="24h" />
        <Link href={beforePath(period)}>Compare with the period before</Link>
      </header>
      {volume.isSuccess && traces === 0 && !volume.isPlaceholderData && (
        <Empty title={`No trace started in this period: ${period.text}`}>
          <p>
            Choose a longer period, or <Link href={projectPath("traces")}>see all traces</Link>. If the project has none, that page shows how to send the first one.
          </p>
        </Empty>
      )}
      <dl class="tiles" aria-label="Totals">
        <Tile label="Traces" value={volume.data ? <TracesLink period={period}>{count(traces)}</TracesLink> : NONE}>{period.text}</Tile>
        <Tile label="Failed traces" value={volume.data ? <TracesLink period={period} where={{ status: "ERROR" }}>{count(failed)}</TracesLink> : NONE}>
          {traces > 0 ? `${percent(failed, traces)} of the traces` : "no trace"}
        </Tile>
        <Tile label="Tokens" value={usage.data ? <span title={count(whole.tokens)}>{short(whole.tokens)}</span> : NONE}>
          {usage.data && `${short(whole.prompt)} prompt, ${short(whole.completion)} completion`}
        </Tile>
        <Tile label="Cost" value={usage.data ? cost(whole.cost, whole.unpriced_span_count) : NONE}>{usage.data && pricedText(whole)}</Tile>
      </dl>
      <div class="panels">
        <Panel title="Traces and failures" reads={[volume]} link={<TracesLink period={period}>Traces</TracesLink>}>
          {() => (
            <Chart
              {...axis}
              title="Traces and failures"
              summary={`${plural(traces, "trace")}, ${count(failed)} failed, ${bucketText(period)}`}
              times={times}
              text={short}
              series={[
                { label: "failed", tone: "bad", as: "bar", values: rows.map((one) => one.error_count) },
                { label: "not failed", tone: 1, as: "bar", values: rows.map((one) => one.trace_count - one.error_count) },
              ]}
            />
          )}
        </Panel>
        <Panel title="Latency of traces" reads={[volume]} link={<TracesLink period={period} where={{ sort_by: "latency" }}>Slowest</TracesLink>}>
          {() => (
            <>
              <Chart
                {...axis}
                title="Latency of traces"
                summary={`percentiles of traces that ended, ${bucketText(period)}`}
                times={times}
                text={duration}
                second={1000}
                series={[
                  { label: "p50", tone: 1, values: rows.map((one) => one.p50_latency_ms) },
                  { label: "p90", tone: 4, values: rows.map((one) => one.p90_latency_ms) },
                  { label: "p99", tone: "bad", values: rows.map((one) => one.p99_latency_ms) },
              ]}
              />
              <p class="hint">{`${count(rows.reduce((sum, one) => sum + one.latency_count, 0))} of ${plural(traces, "trace")} have ended. Only these count.`}</p>
            </>
          )}
        </Panel>
        <Panel title="Tokens" reads={[usage]} link={<Link href={`${usagePage}&metric=tokens`}>Usage</Link>}>
          {() => (
            <Chart
              {...axis}
              title="Tokens"
              summary={`${plural(whole.tokens, "token")}, ${bucketText(period)}`}
              times={usageTimes}
              text={short}
              series={[
                { label: "prompt", tone: 1, as: "bar", values: summed(groups, (one) => one.prompt_tokens) },
                { label: "completion", tone: 3, as: "bar", values: summed(groups, (one) => one.completion_tokens) },
              ]}
            />
          )}
        </Panel>
        <Panel title="Cost" reads={[usage]} link={<Link href={usagePage}>Usage</Link>}>
          {() => (
            <>
              <Chart
                {...axis}
                title="Cost"
                summary={`${cost(whole.cost, whole.unpriced_span_count)}, ${bucketText(period)}`}
                times={usageTimes}
                text={cost}
                series={[{ label: "cost", tone: 2, as: "bar", values: unknownCosts(groups) }]}
              />
              <p class="hint">{pricedText(whole)}</p>
            </>
          )}
        </Panel>
        <Panel title="Models" reads={[usage]} link={<Link href={usagePage}>By day, user, release</Link>}>
          {() => <Models groups={groups} period={period} />}
        </Panel>
        <Panel title="Errors" reads={[errors]}>
          {() => <Errors groups={errors.data?.items ?? []} total={errors.data?.total ?? 0} />}
        </Panel>
        <Panel title="Tools that fail most" reads={[tools]} link={<TracesLink period={period} where={{ has_error: "true" }}>Traces with a failure</TracesLink>}>
          {() => <Tools answer={tools.data!} />}
        </Panel>
        <Panel title="Scores" reads={trends.reads} link={<Link href={`${projectPath("scores")}?${period.query}`}>Scores</Link>}>
          {() => <ScoreTrends trends={trends.items} query={period.query} />}
        </Panel>
        <Panel title="Runs under way" reads={[traceRuns, sessionRuns]} link={<Link href={projectPath("runs")}>Runs</Link>}>
          {() => <Runs runs={runs} total={(traceRuns.data?.total ?? 0) + (sessionRuns.data?.total ?? 0)} />}
        </Panel>
        <Panel title="Alerts" reads={[alerts]} link={<Link href={projectPath("alerts")}>Alerts</Link>}>
          {() => <Alerts alerts={alerts.data?.items ?? []} total={alerts.data?.total ?? 0} />}
        </Panel>
      </div>
    </div>
  );
}

function bucketText(period: Period): string {
  const days = period.granularity === "hour" ? "" : ` of ${bucketZone(period.from, period.to, zone.value === "utc")}`;
  return `by ${period.granularity}${days}`;
}

/** The traces of this period, next to those of as long a time before it. */
function beforePath({ from, to }: Period): string {
  const side = (after: number, before: number): string => `started_after=${new Date(after).toISOString()}&started_before=${new Date(before).toISOString()}`;
  return projectPath(`compare-groups?${new URLSearchParams({ a: side(2 * from - to, from), b: side(from, to) })}`);
}

export function totalOf(groups: readonly TokenCostGroup[]) {
  const sum = (field: (one: TokenCostGroup["total"]) => number): number => groups.reduce((found, one) => found + field(one.total), 0);
  const isCounted = groups.every((one) => one.total.priced_span_count !== null);
  return {
    tokens: sum((one) => one.total_tokens),
    prompt: sum((one) => one.prompt_tokens),
    completion: sum((one) => one.completion_tokens),
    cost: sum((one) => one.total_cost),
    unpriced_span_count: sum((one) => one.unpriced_span_count),
    priced_span_count: isCounted ? sum((one) => one.priced_span_count ?? 0) : null,
  };
}

/** Costs by bucket; null where spans have no price and nothing else cost anything. */
export function unknownCosts(groups: readonly TokenCostGroup[]): (number | null)[] {
  const unpriced = summed(groups, (one) => one.unpriced_span_count);
  return summed(groups, (one) => one.total_cost).map((usd, at) => (usd === 0 && unpriced[at]! > 0 ? null : usd));
}

function Models({ groups, period }: { groups: readonly TokenCostGroup[]; period: Period }): JSX.Element {
  const named = groups.filter((one) => one.kind !== "none" || one.total.total_tokens > 0 || one.total.total_cost > 0);
  if (named.length === 0) return <p class="none">No span names a model in this period.</p>;
  return (
    <table class="plain-table">
      <Head of={["Model", "Tokens", "Cost"]} />
      <tbody>
        {named.map((one) => (
          <tr key={`${one.kind} ${one.key}`}>
            <th scope="row">{one.kind === "value" && one.key ? <TracesLink period={period} where={{ model: one.key }}>{one.key}</TracesLink> : groupName(one, "model")}</th>
            <td>{count(one.total.total_tokens)}</td>
            <td><Money usd={one.total.total_cost} of={one.total} withShare={one.total.unpriced_span_count > 0} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export function groupName(group: { kind: string; key: string | null; group_count: number }, word: string): string {
  if (group.kind === "value") return group.key || `empty ${word}`;
  return group.kind === "none" ? `no ${word}` : `${plural(group.group_count, `other ${word}`)}`;
}

function Errors({ groups, total }: { groups: readonly ErrorGroupResponse[]; total: number }): JSX.Element {
  if (groups.length === 0) return <p class="none">No span failed in this period.</p>;
  return (
    <>
      <table class="plain-table">
        <Head of={["Error", "Spans", "Last"]} />
        <tbody>
          {groups.map((one) => {
            const sample = one.samples[0];
            const text = one.pattern || "no message";
            return (
              <tr key={one.error_group}>
                <th scope="row">
                  {sample ? <Link href={`${projectPath(`traces/${sample.trace_id}`)}?span=${sample.span_id}`}>{startOf(text, 160)}</Link> : text}
                </th>
                <td>{one.is_new && <span class="tag">new</span>} {count(one.count)}</td>
                <td><time>{ago(one.last_seen)}</time></td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {total > groups.length && <p class="hint">{`The most frequent of ${plural(total, "group")}.`}</p>}
    </>
  );
}

function Tools({ answer }: { answer: SpanAnalyticsResponse }): JSX.Element {
  const failing = answer.groups.filter((one) => one.figures.error_count > 0);
  const { span_count: calls } = answer.total.figures;
  if (failing.length === 0) return <p class="none">{calls === 0 ? "No tool was called in this period." : `None of ${plural(calls, "call")} of tools failed.`}</p>;
  return (
    <table class="plain-table">
      <Head of={["Tool", "Failed", "Calls", "p95"]} />
      <tbody>
        {failing.map(({ key, figures }) => (
          <tr key={key}>
            <th scope="row">{key}</th>
            <td class="bad-text">{count(figures.error_count)} <small>{percent(figures.error_count, figures.span_count)}</small></td>
            <td>{count(figures.span_count)}</td>
            <td>{duration(figures.p95_latency_ms)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Runs({ runs, total }: { runs: readonly EvalRunResponse[]; total: number }): JSX.Element {
  if (runs.length === 0) return <p class="none">No evaluation runs at the moment.</p>;
  return (
    <>
      <ul class="trends">
        {runs.map((one) => {
          const done = one.evaluated_count + one.failed_count + one.skipped_count;
          return (
            <li key={one.id} class="trend">
              <Link href={projectPath(`runs/${one.target_type === "SESSION" ? "sessions" : "traces"}/${one.id}`)}>{one.name ?? one.metric_names.join(", ")}</Link>
              <div class="share" aria-hidden="true"><i style={{ width: `${one.total_targets ? (100 * done) / one.total_targets : 0}%` }} /></div>
              <small>{`${count(done)} of ${plural(one.total_targets, one.target_type.toLowerCase())}`}</small>
            </li>
          );
        })}
      </ul>
      {total > runs.length && <p class="hint">{`The newest of ${plural(total, "run")}.`}</p>}
    </>
  );
}

function Alerts({ alerts, total }: { alerts: readonly AlertResponse[]; total: number }): JSX.Element {
  if (alerts.length === 0) return <p class="none">No alert is on.</p>;
  return (
    <>
      <table class="plain-table">
        <Head of={["Metric", "Figure", "Value", "Since"]} />
        <tbody>
          {alerts.map((one) => (
            <tr key={one.id}>
              <th scope="row"><Link href={projectPath(`monitors/${one.monitor_id}`)}>{one.metric}</Link></th>
              <td>{one.figure.replaceAll("_", " ")}</td>
              <td class="bad-text">{score(one.value)} <small>threshold {one.threshold}</small></td>
              <td><time>{ago(one.since)}</time></td>
            </tr>
          ))}
        </tbody>
      </table>
      {total > alerts.length && <p class="hint">{`${plural(total, "alert is", "alerts are")} on.`}</p>}
    </>
  );
}
