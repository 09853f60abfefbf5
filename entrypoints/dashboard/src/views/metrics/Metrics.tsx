/** The catalogue of metrics, built in and custom. */
import type { JSX } from "preact";
import { useLocation } from "wouter-preact";
import { useRead } from "../../api/queries.ts";
import { may, project, scopeHint } from "../../api/session.ts";
import type { CustomMetricResponse, MetricSummary } from "../../api/types.d.ts";
import { NONE, plural } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { announce, Button, Empty, Loading, useTitle, Failed, Select } from "../../ui/basics.tsx";
import { Modes } from "../../ui/Modes.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState } from "../../url/state.ts";
import { METRICS, ofParam } from "../../lib/run-form.ts";
import { METHODS } from "../runs/RunForm.tsx";
import { KINDS, type Kind } from "../../lib/metric-definition.ts";
import { NewMetric } from "./MetricForm.tsx";
import { Head } from "../../ui/Head.tsx";
import { useCurl } from "../../ui/useCurl.ts";

export function Metrics(): JSX.Element {
  const { params, update } = useUrlState();
  const [, navigate] = useLocation();
  const of = ofParam(params.get("of"));
  const isArchive = params.get("archived") !== null;
  const [query, method] = [params.get("query") ?? "", params.get("method") ?? ""];
  const making = KINDS.find((one) => one.kind === params.get("new"))?.kind;
  useTitle(making ? "New metric" : "Metrics", project.value?.name);
  const metrics = useRead<MetricSummary[]>(METRICS[of], {}, { enabled: !isArchive });
  const archived = useRead<CustomMetricResponse[]>("evaluations/custom-metrics", { archived: true }, { enabled: isArchive });
  const make = (): void => (may("evaluate") ? update({ new: "judge" }, { push: true }) : announce(scopeHint("evaluate")));
  useCommands([
    { keys: "/", label: "Find a metric", group: "Metrics", run: () => document.getElementById("find-metric")?.focus() },
    { keys: "n", label: "New metric", group: "Metrics", run: make },
  ]);
  const answer = isArchive ? archived : metrics;
  useCurl("Metrics", "the list", isArchive ? "evaluations/custom-metrics" : METRICS[of], isArchive ? { archived: true } : {});
  const rows = (isArchive ? archived.data?.map((one) => ({ ...one, method: one.kind === "judge" ? ("judged" as const) : ("measured" as const) })) : metrics.data)?.filter(
    (one) => `${one.name} ${one.description}`.toLowerCase().includes(query.toLowerCase()) && (method === "" || (method === "own" ? one.revision !== null : one.method === method)),
  );
  const pathOf = (name: string): string => `${projectPath("metrics")}/${name}${of === "traces" ? "" : `?of=${of}`}`;
  if (making) return <NewMetric kind={making} choose={(kind: Kind) => update({ new: kind })} done={(name) => navigate(`${projectPath("metrics")}/${name}`)} cancel={() => update({ new: null })} />;
  return (
    <div class="page">
      <header class="title">
        <h1>Metrics</h1>
        <span role="status" class="hint">{rows && plural(rows.length, "metric")}</span>
        <Modes label="Metrics of" of={["traces", "sessions", "archived"]} at={isArchive ? "archived" : of} choose={(one) => update({ of: one === "sessions" ? one : null, archived: one === "archived" ? "1" : null, method: null }, { push: true })} />
        <input id="find-metric" type="search" aria-label="Find a metric" placeholder="Find a metric" value={query} onInput={(event) => update({ query: event.currentTarget.value || null })} />
        {of === "traces" && !isArchive && (
          <Select aria-label="How it is measured" value={method} choose={(value) => update({ method: value || null })} options={[["", "All"], ["judged", "Judged"], ["embedded", "Compared"], ["measured", "Computed"], ["own", "Own"]]} />
        )}
        <Button class="main" disabled={!may("evaluate")} title={scopeHint("evaluate")} onClick={make}>New metric …</Button>
      </header>
      <Failed of={answer} />
      {answer.isPending && <Loading what="metrics" />}
      {rows?.length === 0 && (
        <Empty title={isArchive && query === "" ? "No metric is archived" : "No metric matches"}>
          {(query || method) && <Button onClick={() => update({ query: null, method: null })}>Show all</Button>}
        </Empty>
      )}
      {rows && rows.length > 0 && (
        <div class="wide-table" tabIndex={0} role="region" aria-label="Metrics">
          <table class="plain-table metric-list">
            <Head of={["Metric", "Measured", "#Threshold"]} />
            <tbody>
              {rows.map((one) => (
                <tr key={one.name}>
                  <th scope="row">
                    <Link href={pathOf(one.name)}>{one.name}</Link>
                    <small>{one.description}</small>
                  </th>
                  <td title={METHODS[one.method].needs}>{METHODS[one.method].label.toLowerCase()}{one.revision !== null && ` · own, revision ${one.revision}`}</td>
                  <td class="c-number">{one.threshold ?? <span title="Neither end is better">{NONE}</span>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}
