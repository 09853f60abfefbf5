/** The monitors of a project: when they run, how their last run went, and whether they alert. */
import type { JSX } from "preact";
import { useRead } from "../../api/queries.ts";
import { may, project, scopeHint } from "../../api/session.ts";
import type { MonitorResponse, PaginatedResponse_AlertResponse_, PaginatedResponse_MonitorResponse_ } from "../../api/types.d.ts";
import { cadenceWords } from "../../lib/chart/cadence.ts";
import { NONE, plural } from "../../lib/format.ts";
import { Button, Empty, Loading, useTitle, Failed, Select } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState } from "../../url/state.ts";
import { LastRun, NextRuns, State } from "./parts.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const PAGE = 25;
const ALERTS_MAX = 200; // of one page of the API
const POLL_MS = 15_000;

export function Monitors(): JSX.Element {
  useTitle("Monitors", project.value?.name);
  const url = useUrlState();
  const status = url.params.get("status");
  const query = { limit: PAGE, status, cursor: url.params.get("cursor") };
  useCurl("Monitors", "the list", "evaluations/monitors", query);
  const monitors = useRead<PaginatedResponse_MonitorResponse_>("evaluations/monitors", query, { keepPrevious: true, pollMs: POLL_MS });
  const alerts = useRead<PaginatedResponse_AlertResponse_>("evaluations/alerts", { limit: ALERTS_MAX }, { pollMs: POLL_MS });
  const page = monitors.data;
  return (
    <div class="page">
      <header class="title">
        <h1>Monitors</h1>
        {page && <span class="hint">{plural(page.total, "monitor")}</span>}
        <Select aria-label="Status" value={status} choose={(value) => url.update({ status: value || null, cursor: null }, { push: true })} options={[["", "All"], ["ACTIVE", "Active"], ["PAUSED", "Paused"]]} />
        <NewLink />
      </header>
      <Failed of={monitors} />
      {monitors.isPending && <Loading what="monitors" />}
      {page?.items.length === 0 && (
        <Empty title={status ? "No monitor has this status" : "No monitor yet"}>
          {!status && <p>A monitor evaluates what is new on a schedule, and its alerts say when it gets worse.</p>}
          {!status && <NewLink />}
        </Empty>
      )}
      {page && page.items.length > 0 && (
        <ul class="monitor-list">
          {page.items.map((one) => (
            <li key={one.id}>
              <Row of={one} alerts={alerts.data?.items.filter((alert) => alert.monitor_id === one.id) ?? null} />
            </li>
          ))}
        </ul>
      )}
      {(page?.next_cursor || url.params.has("cursor")) && (
        <p class="actions">
          {url.params.has("cursor") && <Button onClick={() => url.update({ cursor: null }, { push: true })}>First page</Button>}
          {page?.next_cursor && <Button onClick={() => url.update({ cursor: page.next_cursor }, { push: true })}>Next page</Button>}
        </p>
      )}
    </div>
  );
}

function NewLink(): JSX.Element {
  if (!may("evaluate")) return <Button disabled title={scopeHint("evaluate")}>New monitor …</Button>;
  return <Link class="button main" href={projectPath("monitors/new")}>New monitor …</Link>;
}

function Row({ of, alerts }: { of: MonitorResponse; alerts: PaginatedResponse_AlertResponse_["items"] | null }): JSX.Element {
  return (
    <>
      <div>
        <Link class="named" href={projectPath(`monitors/${of.id}`)}>{of.name}</Link>
        <small>{of.target_type === "TRACE" ? "traces" : "sessions"} · {of.metric_names.join(", ")}</small>
      </div>
      <div>
        <span class={`status s-${of.status === "ACTIVE" ? "OK" : "PENDING"}`}>{of.status === "ACTIVE" ? "● active" : "Ⅱ paused"}</span>
        <span>{cadenceWords(of.cadence)}</span>
      </div>
      <div>
        <small>Next</small>
        <NextRuns of={of} />
      </div>
      <div>
        <small>Last run</small>
        <LastRun of={of} />
      </div>
      <div>
        <small>Alerts</small>
        {alerts === null ? NONE : alerts.length === 0 ? <span class="none">none</span> : <Counts of={alerts} />}
      </div>
    </>
  );
}

function Counts({ of }: { of: PaginatedResponse_AlertResponse_["items"] }): JSX.Element {
  return (
    <span class="actions">
      {(["ALERTING", "NO_DATA", "OK"] as const).map((state) => {
        const some = of.filter((one) => one.state === state);
        return some.length > 0 && <span key={state}><State value={state} /> {some.length}</span>;
      })}
    </span>
  );
}
