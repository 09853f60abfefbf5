/** The list of runs over traces, or over sessions. */
import type { JSX } from "preact";
import { useLocation } from "wouter-preact";
import { useRead } from "../../api/queries.ts";
import { project } from "../../api/session.ts";
import type { JudgeUsage, ListedRunResponse, MonitorResponse } from "../../api/types.d.ts";
import { NONE, ago, cost, count, duration, fullInstant, plural } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { Empty, useTitle, Select } from "../../ui/basics.tsx";
import { Modes } from "../../ui/Modes.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { Paged, Total } from "../../ui/table/Paged.tsx";
import { usePages } from "../../ui/table/usePages.ts";
import { useMark, VirtualTable, type Column } from "../../ui/table/VirtualTable.tsx";
import { useUrlState } from "../../url/state.ts";
import { ofParam, RUNS, type Of } from "../../lib/run-form.ts";
import { isOver, POLL_MS, Progress, RunState } from "./parts.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const MONITORS_MAX = 200; // whose names are known
const STATUSES = ["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"] as const;

export function Runs(): JSX.Element {
  const { params, update } = useUrlState();
  const [, navigate] = useLocation();
  const of = ofParam(params.get("of"));
  useTitle(`Runs over ${of}`, project.value?.name);
  const query = { status: params.get("status") ?? undefined };
  const pages = usePages<ListedRunResponse>(RUNS[of], { ...query, include: "usage" }, { pollMs: (some) => (some.some((one) => !isOver(one.status)) ? POLL_MS : false) });
  const { rows } = pages;
  const monitored = rows.some((one) => one.monitor_id !== null);
  const monitors = useRead<{ items: MonitorResponse[] }>("evaluations/monitors", { limit: MONITORS_MAX }, { enabled: monitored });
  const nameOf = (id: string): string => monitors.data?.items.find((one) => one.id === id)?.name ?? "monitor";
  const pathOf = (run: ListedRunResponse): string => `${projectPath("runs")}/${of}/${run.id}`;
  const { at, go } = useMark(rows.map((row) => row.id));
  const group = "Runs";
  useCommands([
    { keys: "j", label: "Next run", group, hidden: true, run: () => go(at + 1) },
    { keys: "k", label: "Previous run", group, hidden: true, run: () => go(at - 1) },
    { keys: "o", label: "Open the run", group, run: () => rows[at] && navigate(pathOf(rows[at])) },
    { keys: "n", label: "Start a run", group, run: () => navigate(newPath(of)) },
  ]);
  useCurl(group, "the list", RUNS[of], query);
  const columns: Column<ListedRunResponse>[] = [
    { id: "name", label: "Run", className: "c-name", cell: (row) => <Link href={pathOf(row)}>{row.name ?? row.metric_names.join(", ")}</Link> },
    { id: "status", label: "Status", cell: (row) => <RunState status={row.status} /> },
    { id: "progress", label: "Progress", cell: (row) => <Progress run={row} /> },
    { id: "failed", label: "Failed", className: "c-number", cell: (row) => (row.failed_count > 0 ? <span class="bad-text">{count(row.failed_count)}</span> : count(0)) },
    { id: "skipped", label: "Skipped", className: "c-number", cell: (row) => count(row.skipped_count) },
    { id: "metrics", label: "Metrics", className: "c-preview", cell: (row) => <span title={row.metric_names.join(", ")}>{row.metric_names.join(", ")}</span> },
    { id: "model", label: "Model", className: "c-value", cell: (row) => row.model ?? NONE },
    { id: "votes", label: "Votes", className: "c-number", cell: (row) => count(row.votes) },
    { id: "cost", label: "Cost", className: "c-number", cell: (row) => <Cost usage={row.usage!} /> },
    { id: "limit", label: "Limit", className: "c-number", cell: (row) => (row.max_cost_usd === null ? <span class="none" title="No limit was set">{NONE}</span> : cost(row.max_cost_usd)) },
    {
      id: "by",
      label: "By",
      className: "c-value",
      cell: (row) => (row.monitor_id === null ? "request" : <Link href={`${projectPath("monitors")}/${row.monitor_id}`}>{nameOf(row.monitor_id)}</Link>),
    },
    { id: "created", label: "Started", className: "c-time", cell: (row) => <time title={fullInstant(row.created_at)}>{ago(row.created_at)}</time> },
    {
      id: "took",
      label: "Took",
      className: "c-number",
      cell: (row) => (row.completed_at === null ? <span class="none" title="It has not ended">{NONE}</span> : duration(Date.parse(row.completed_at) - Date.parse(row.created_at))),
    },
  ];
  return (
    <div class="list">
      <div class="list-main">
        <header class="title">
          <h1>Runs</h1>
          <Total of={pages} what="run" />
          <Modes label="Runs over" of={["traces", "sessions"]} at={of} choose={(one) => update({ of: one === "traces" ? null : one }, { push: true })} />
          <Select aria-label="Status" value={query.status} choose={(value) => update({ status: value || null }, { push: true })} options={[["", "Any status"], ...STATUSES.map((one) => [one, one.toLowerCase()])]} />
          <Link class="button main" href={newPath(of)}>New run</Link>
        </header>
        <Paged
          of={pages}
          what="runs"
          empty={
            <Empty title={query.status ? `No run over ${of} is ${query.status.toLowerCase()}` : `No run over ${of} yet`}>
              <p>A run scores many {of} with metrics, after an estimate of what it costs.</p>
              <Link href={newPath(of)}>Start a run</Link>
            </Empty>
          }
        >
          {() => (
            <VirtualTable<ListedRunResponse>
              label="Runs"
              rows={rows}
              total={pages.total}
              columns={columns}
              rowKey={(row) => row.id}
              at={at}
              rowClass={(row) => (row.status === "FAILED" ? "failed" : "")}
              onNearEnd={pages.more}
            />
          )}
        </Paged>
      </div>
    </div>
  );
}

/** What the judges of a run cost so far; a lower bound if requests have no price. */
function Cost({ usage }: { usage: JudgeUsage }): JSX.Element {
  const { calls, unpriced_calls: unpriced, estimated_calls: estimated } = usage;
  if (calls === 0) return <span title="No judge was asked">{cost(0)}</span>;
  const hints = [
    plural(calls, "request"),
    ...(unpriced > 0 ? [`${count(unpriced)} without a price`] : []),
    ...(estimated > 0 ? [`the tokens of ${count(estimated)} are estimates`] : []),
  ];
  return (
    <span title={hints.join(", ")}>
      {cost(usage.cost_usd, unpriced)} {(unpriced > 0 || estimated > 0) && <small>{unpriced > 0 ? `${count(unpriced)} unpriced` : "estimated"}</small>}
    </span>
  );
}

function newPath(of: Of): string {
  return `${projectPath("runs")}/new${of === "traces" ? "" : `?of=${of}`}`;
}
