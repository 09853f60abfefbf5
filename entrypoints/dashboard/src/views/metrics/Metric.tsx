/** One metric: what it measures, its prompt, and for a custom one its definition and revisions. */
import type { JSX } from "preact";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, project, scopeHint } from "../../api/session.ts";
import type { CustomMetricResponse, EvalRunTemplate, MetricRevisionResponse, MetricSummary } from "../../api/types.d.ts";
import { ago, fullInstant, NONE } from "../../lib/format.ts";
import { announce, Button, Empty, Loading, useTitle, Failed } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Diff } from "../../ui/payload/Diff.tsx";
import { useSending } from "../../ui/Field.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState, type UrlState } from "../../url/state.ts";
import { METRICS, ofParam } from "../../lib/run-form.ts";
import { METHODS } from "../runs/RunForm.tsx";
import { definitionText } from "../../lib/metric-definition.ts";
import { Prompts } from "./DryRun.tsx";
import { ReviseMetric } from "./MetricForm.tsx";
import { useCurl } from "../../ui/useCurl.ts";

export function Metric({ name }: { name: string }): JSX.Element {
  const url = useUrlState();
  const of = ofParam(url.params.get("of"));
  useTitle(name, "Metrics", project.value?.name);
  const listed = useRead<MetricSummary[]>(METRICS[of]);
  const found = listed.data?.find((one) => one.name === name);
  const isCustom = listed.data !== undefined && of === "traces" && (found === undefined || found.revision !== null);
  const custom = useRead<CustomMetricResponse>(`evaluations/custom-metrics/${encodeURIComponent(name)}`, {}, { enabled: isCustom }); // also an archived one
  useCurl("Metric", "the metric", isCustom ? `evaluations/custom-metrics/${encodeURIComponent(name)}` : METRICS[of]);
  if (listed.isError) return <Failed of={listed} />;
  if (listed.isPending || (isCustom && custom.isPending)) return <Loading what="the metric" />;
  const metric = found ?? custom.data;
  if (metric === undefined) {
    return (
      <Empty title="This metric isn’t here" isPage>
        <Link href={projectPath("metrics")}>All metrics</Link>
      </Empty>
    );
  }
  const archivedAt = custom.data?.archived_at ?? null;
  const method = found?.method ?? (custom.data?.kind === "judge" ? "judged" : "measured");
  return (
    <div class="page">
      <header class="title">
        <h1>{name}</h1>
        {custom.data && <span class="tag">own, revision {custom.data.revision}</span>}
        {archivedAt !== null && <span class="tag" title={fullInstant(archivedAt)}>archived {ago(archivedAt)}</span>}
        <span class="actions">
          <Link class="button" href={`${projectPath("scores")}/${name}?of=${of}`}>Its scores</Link>
          {archivedAt === null && <Link class="button main" href={`${projectPath("runs")}/new?${new URLSearchParams({ ...(of === "sessions" ? { of } : {}), metric: name })}`}>Start a run with it</Link>}
          {custom.data && <Archive metric={custom.data} />}
        </span>
      </header>
      <p>{metric.description}</p>
      <dl class="facts">
        <div><dt>Measured</dt><dd>{METHODS[method].label.toLowerCase()}: {METHODS[method].needs}</dd></div>
        <div><dt>Passes from</dt><dd>{metric.threshold ?? <span title="Neither end is better">{NONE}</span>}</dd></div>
        {custom.data && <div><dt>Since</dt><dd><time title={fullInstant(custom.data.updated_at)}>{ago(custom.data.updated_at)}</time></dd></div>}
      </dl>
      {found?.skipped_when && (
        <section aria-labelledby="skipped">
          <h2 id="skipped">When it is skipped</h2>
          <ul class="bullets">
            {found.skipped_when.map((one) => (
              <li key={one.code}>
                {one.reason} <code>{one.code}</code>
              </li>
            ))}
          </ul>
        </section>
      )}
      {custom.data && archivedAt === null && <ReviseMetric key={custom.data.revision} metric={custom.data} />}
      {custom.data && archivedAt !== null && <pre class="raw" role="group" tabIndex={0} aria-label="Definition">{definitionText(custom.data.definition)}</pre>}
      {method === "judged" && archivedAt === null && <Template name={name} />}
      {custom.data && <Revisions name={name} url={url} />}
    </div>
  );
}

function Archive({ metric }: { metric: CustomMetricResponse }): JSX.Element {
  const sending = useSending();
  const isArchived = metric.archived_at !== null;
  const act = async (): Promise<void> => {
    if (!(await sending.send(() => request("POST", `evaluations/custom-metrics/${metric.name}/${isArchived ? "restore" : "archive"}`)))) return;
    announce(isArchived ? "Restored the metric" : "Archived the metric: its scores stay");
    await invalidate("evaluations");
  };
  return (
    <>
      <Button disabled={sending.isBusy || !may("evaluate")} title={scopeHint("evaluate") || (isArchived ? "" : "New runs can’t use it; its scores stay")} onClick={() => void act()}>
        {isArchived ? "Restore" : "Archive"}
      </Button>
      <Failed of={sending} />
    </>
  );
}

function Template({ name }: { name: string }): JSX.Element | null {
  const template = useRead<EvalRunTemplate>("evaluations/trace-runs/template", { metric: name });
  if (template.isError) return <Failed of={template} />;
  if (template.data === undefined) return <Loading what="the prompt" />;
  return (
    <section aria-labelledby="asked">
      <h2 id="asked">What the judge is asked</h2>
      <details>
        <summary>The exact prompt</summary>
        <Prompts stages={template.data.metric.prompt_preview} />
      </details>
    </section>
  );
}

function Revisions({ name, url }: { name: string; url: UrlState }): JSX.Element {
  const { params, update } = url;
  const answer = useRead<MetricRevisionResponse[]>(`evaluations/custom-metrics/${encodeURIComponent(name)}/revisions`);
  if (answer.isError) return <Failed of={answer} />;
  const all = answer.data ?? [];
  const shown = all.find((one) => String(one.revision) === params.get("revision"));
  const before = shown && all.find((one) => one.revision === shown.revision - 1);
  const text = (one: MetricRevisionResponse | undefined): string | null => one ? definitionText({ description: one.description, threshold: one.threshold, definition: one.definition }) : null;
  return (
    <section aria-labelledby="revisions">
      <h2 id="revisions">Revisions</h2>
      <ul class="revisions">
        {all.map((one) => (
          <li key={one.revision}>
            <Button aria-pressed={one === shown} onClick={() => update({ revision: one === shown ? null : String(one.revision) }, { push: true })}>
              Revision {one.revision}
            </Button>
            <time title={fullInstant(one.created_at)}>{ago(one.created_at)}</time>
            <small>{one.description}</small>
          </li>
        ))}
      </ul>
      {shown && before && <Diff label={`What revision ${shown.revision} changed`} left={text(before)} right={text(shown)} as={params.get("as") ?? "lines"} choose={(as) => update({ as })} />}
      {shown && !before && <pre class="raw" role="group" tabIndex={0} aria-label="The first revision">{text(shown)}</pre>}
    </section>
  );
}

