/** One monitor: its runs, the means of its metrics, its alerts and their history. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, project, scopeHint } from "../../api/session.ts";
import type { AlertChangeResponse, AlertResponse, EvalRunResponse, MonitorResponse, PaginatedResponse_AlertChangeResponse_, PaginatedResponse_EvalRunResponse_, PreviewedRunItem } from "../../api/types.d.ts";
import { cadenceWords } from "../../lib/chart/cadence.ts";
import { ago, cost, fullInstant, inPercent, instant, NONE, plural, score } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { useSending } from "../../ui/Field.tsx";
import { announce, Button, Dialog, Empty, Loading, useTitle, Failed } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState } from "../../url/state.ts";
import { AlertForm } from "./AlertForm.tsx";
import { EditMonitor, editAddress } from "./MonitorForm.tsx";
import { LastRun, NextRuns, State, ruleWords, runPath, runWords } from "./parts.tsx";
import { RunChart } from "./RunChart.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const POLL_MS = 10_000;
const RUNS = 20; // as many as a preview of an alert has
const CHANGES = 20;

export function Monitor({ id }: { id: string }): JSX.Element {
  const path = `evaluations/monitors/${id}`;
  const url = useUrlState();
  const monitor = useRead<MonitorResponse>(path, {}, { pollMs: POLL_MS });
  const alerts = useRead<AlertResponse[]>(`${path}/alerts`, {}, { pollMs: POLL_MS });
  useTitle(monitor.data?.name, "Monitors", project.value?.name);
  useCurl("Monitor", "the monitor", path);
  if (monitor.isError) {
    return (
      <div class="page">
        <h1>Monitor</h1>
        <Failed of={monitor} />
        <Link href={projectPath("monitors")}>All monitors</Link>
      </div>
    );
  }
  if (!monitor.data || alerts.isPending) return <Loading what="the monitor" />;
  const of = monitor.data;
  if (url.params.has("edit")) return <EditMonitor of={of} />;
  return (
    <div class="page monitor">
      <Head of={of} />
      <Facts of={of} />
      <Alerts of={of} alerts={alerts.data ?? null} failed={<Failed of={alerts} />} />
      <section aria-label="Means over the last runs">
        <h2>Last {RUNS} runs</h2>
        <RunStrip of={of} />
        <div class="charts">
          {of.metric_names.map((metric) => <MetricChart key={metric} of={of} metric={metric} alerts={alerts.data ?? []} />)}
        </div>
      </section>
      <Changes path={`${path}/alert-changes`} alerts={alerts.data ?? []} />
    </div>
  );
}

function Head({ of }: { of: MonitorResponse }): JSX.Element {
  const path = `evaluations/monitors/${of.id}`;
  const [, navigate] = useLocation();
  const [isDeleting, askDelete] = useState(false);
  const sending = useSending();
  const isPaused = of.status === "PAUSED";
  const allowed = may("evaluate");
  const act = (verb: string, said: string): void => {
    if (!allowed) return announce(scopeHint("evaluate"));
    void sending.send(async () => {
      await request("POST", `${path}/${verb}`, verb === "trigger" ? { headers: { "Idempotency-Key": crypto.randomUUID() } } : {});
      announce(said);
      await invalidate("evaluations/");
    });
  };
  const remove = async (): Promise<void> => {
    await request("DELETE", path);
    announce(`Deleted ${of.name}`);
    void invalidate("evaluations/");
    navigate(projectPath("monitors"));
  };
  useCommands([
    { keys: "r", label: "Run the monitor now", group: "Monitor", run: () => act("trigger", "Started a run") },
    { keys: "p", label: isPaused ? "Resume the monitor" : "Pause the monitor", group: "Monitor", run: () => act(isPaused ? "resume" : "pause", isPaused ? "Resumed" : "Paused") },
  ]);
  return (
    <>
      <header class="title">
        <h1>{of.name}</h1>
        <span class={`status s-${isPaused ? "PENDING" : "OK"}`}>{isPaused ? "Ⅱ paused" : "● active"}</span>
        <span class="actions">
          <Button disabled={!allowed || sending.isBusy} title={scopeHint("evaluate")} onClick={() => act("trigger", "Started a run")}>Run now</Button>
          <Button disabled={!allowed || sending.isBusy} title={scopeHint("evaluate")} onClick={() => act(isPaused ? "resume" : "pause", isPaused ? "Resumed" : "Paused")}>{isPaused ? "Resume" : "Pause"}</Button>
          {allowed && <Link class="button" href={editAddress(of)}>Edit …</Link>}
          <Button class="danger" disabled={!allowed} title={scopeHint("evaluate")} onClick={() => askDelete(true)}>Delete …</Button>
        </span>
      </header>
      <Failed of={sending} />
      {isDeleting && (
        <Confirm title={`Delete ${of.name}?`} act={remove} word="Delete the monitor" close={() => askDelete(false)}>
          Its alerts and their history are deleted with it. Its runs and scores stay.
        </Confirm>
      )}
    </>
  );
}

export function Confirm(props: { title: string; word: string; act: () => Promise<unknown>; close: () => void; children: string }): JSX.Element {
  const sending = useSending();
  return (
    <Dialog title={props.title} close={props.close}>
      <p>{props.children}</p>
      <Failed of={sending} />
      <p class="actions">
        <Button autoFocus onClick={props.close}>Cancel</Button>
        <Button class="danger" disabled={sending.isBusy} onClick={() => void sending.send(props.act).then((worked) => worked && props.close())}>{props.word}</Button>
      </p>
    </Dialog>
  );
}

function Facts({ of }: { of: MonitorResponse }): JSX.Element {
  const filters = Object.entries(of.filters);
  return (
    <dl class="facts">
      <Fact name="Runs">{cadenceWords(of.cadence)}</Fact>
      <Fact name="Next"><NextRuns of={of} /></Fact>
      <Fact name="Last run"><LastRun of={of} /></Fact>
      <Fact name="Over">
        {of.target_type === "TRACE" ? "traces" : "sessions"}
        {filters.length === 0 ? " of all kinds" : filters.map(([name, value]) => <span key={name} class="tag">{name}: {filterText(value)}</span>)}
      </Fact>
      <Fact name="Targets">{of.only_if_changed ? "new or changed since the last run" : "all that match"}{of.settled_only && ", settled only"}</Fact>
      {of.sampling_rate < 1 && <Fact name="Sample">{`${inPercent(of.sampling_rate)} %`}</Fact>}
      <Fact name="Judge">{of.model ?? "the default model"}{of.votes > 1 && `, ${of.votes} votes`}</Fact>
      <Fact name="Cost limit">{of.max_cost_usd === null ? <span class="none">{NONE} none</span> : `${cost(of.max_cost_usd)} a run`}</Fact>
    </dl>
  );
}

function filterText(value: unknown): string {
  return Array.isArray(value) ? value.join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value);
}

function Fact({ name, children }: { name: string; children: JSX.Element | (JSX.Element | string | false | JSX.Element[])[] | string }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** The runs, the earliest first, each with its status. */
function RunStrip({ of }: { of: MonitorResponse }): JSX.Element {
  const runs = useRead<PaginatedResponse_EvalRunResponse_>(`evaluations/monitors/${of.id}/runs`, { limit: RUNS }, { pollMs: POLL_MS });
  if (runs.isError) return <Failed of={runs} />;
  if (!runs.data) return <Loading what="the runs" />;
  if (runs.data.items.length === 0) {
    return (
      <Empty title="It has not run yet">
        <p>It runs at the times above, or now by <em>Run now</em>.</p>
      </Empty>
    );
  }
  const mark: Record<string, string> = { COMPLETED: "✓", FAILED: "✕", RUNNING: "◐", PENDING: "○", CANCELLED: "–" };
  return (
    <ol class="run-strip" aria-label="Runs, the earliest first">
      {[...runs.data.items].reverse().map((run: EvalRunResponse) => (
        <li key={run.id} class={`run-${run.status}`} title={`${instant(run.created_at)}: ${runWords(run)}${run.error_message ? `, ${run.error_message}` : ""}`}>
          <Link href={runPath(of.target_type, run.id)}>
            <span aria-hidden="true">{mark[run.status] ?? "·"}</span>
            <span class="sr">{instant(run.created_at)}: {runWords(run)}</span>
          </Link>
        </li>
      ))}
    </ol>
  );
}

/** The means of a metric: what an alert on them would see. */
function MetricChart({ of, metric, alerts }: { of: MonitorResponse; metric: string; alerts: readonly AlertResponse[] }): JSX.Element {
  const path = `evaluations/monitors/${of.id}/alerts/preview`;
  const body = { metric, figure: "score_mean", threshold: 0, samples_min: 1 };
  const seen = useRead<PreviewedRunItem[]>(path, {}, { body, pollMs: POLL_MS });
  if (seen.isError) return <Failed of={seen} />;
  if (!seen.data) return <Loading what={metric} />;
  const limits = alerts.filter((one) => one.metric === metric && one.figure === "score_mean").map((one) => ({ value: one.threshold, label: "alerts below" }));
  return <RunChart title={metric} runs={seen.data} of="mean" limits={limits} hasStates={false} target={of.target_type} />;
}

function Alerts({ of, alerts, failed }: { of: MonitorResponse; alerts: readonly AlertResponse[] | null; failed: JSX.Element }): JSX.Element {
  const [form, open] = useState<AlertResponse | "new" | null>(null);
  const [gone, askDelete] = useState<AlertResponse | null>(null);
  const allowed = may("evaluate");
  useCommands([{ keys: "n", label: "New alert", group: "Monitor", run: () => (allowed ? open("new") : announce(scopeHint("evaluate"))) }]);
  return (
    <section aria-label="Alerts">
      <header class="title">
        <h2>Alerts</h2>
        <Button disabled={!allowed} title={scopeHint("evaluate")} onClick={() => open("new")}>New alert …</Button>
      </header>
      {failed}
      {alerts?.length === 0 && <p class="none">No alert yet: one tells you when the scores of a run get worse.</p>}
      {alerts && alerts.length > 0 && (
        <ul class="alert-list">
          {alerts.map((one) => (
            <li key={one.id}>
              <State value={one.state} />
              <span>
                <strong>{one.metric}</strong> {ruleWords(one)}
                <small title={fullInstant(one.since)}>
                  {one.state.toLowerCase().replace("_", " ")} since {ago(one.since)}, last value {score(one.value)}
                </small>
              </span>
              <span class="actions">
                <Button disabled={!allowed} title={scopeHint("evaluate")} aria-label={`Edit the alert on ${one.metric}`} onClick={() => open(one)}>Edit …</Button>
                <Button class="quiet danger" icon="close" disabled={!allowed} label={`Delete the alert on ${one.metric}`} onClick={() => askDelete(one)} />
              </span>
            </li>
          ))}
        </ul>
      )}
      {form !== null && <AlertForm monitor={of} alert={form === "new" ? null : form} close={() => open(null)} />}
      {gone && (
        <Confirm
          title={`Delete the alert on ${gone.metric}?`}
          word="Delete the alert"
          close={() => askDelete(null)}
          act={async () => {
            await request("DELETE", `evaluations/monitors/${of.id}/alerts/${gone.id}`);
            await invalidate("evaluations/");
          }}
        >
          Its history is deleted with it.
        </Confirm>
      )}
    </section>
  );
}

function Changes({ path, alerts }: { path: string; alerts: readonly AlertResponse[] }): JSX.Element {
  const found = useRead<PaginatedResponse_AlertChangeResponse_>(path, { limit: CHANGES }, { pollMs: POLL_MS });
  return (
    <section aria-label="History of alerts">
      <h2>History</h2>
      <Failed of={found} />
      {found.data?.items.length === 0 && <p class="none">No alert has changed its state yet.</p>}
      {found.data && <ChangeList of={found.data.items} alerts={alerts} />}
      {found.data && found.data.total > CHANGES && <p class="hint">The last {CHANGES} of {plural(found.data.total, "change")}.</p>}
    </section>
  );
}

/** How many evaluations the value of a change covers. */
function coverageWords(of: AlertChangeResponse): string {
  if (of.scored === null) return "";
  const others = [[of.failed, "failed"], [of.skipped, "skipped"]].filter(([count]) => count).map(([count, what]) => `, ${count} ${what}`);
  return `, ${of.scored} scored${others.join("")}`;
}

export function ChangeList({ of, alerts }: { of: readonly AlertChangeResponse[]; alerts: readonly AlertResponse[] }): JSX.Element {
  return (
    <ol class="change-list">
      {of.map((one) => {
        const alert = alerts.find((it) => it.id === one.alert_id);
        return (
          <li key={one.id}>
            <time dateTime={one.at} title={fullInstant(one.at)}>{instant(one.at)}</time>
            <span>
              <State value={one.before} /> → <State value={one.state} />
            </span>
            <span>
              {alert ? <><strong>{alert.metric}</strong> {ruleWords(alert)}</> : <span class="none">a deleted alert</span>} <small>at {score(one.value)}{coverageWords(one)}</small>
            </span>
          </li>
        );
      })}
    </ol>
  );
}
