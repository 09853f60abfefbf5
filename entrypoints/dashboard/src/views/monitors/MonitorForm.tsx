/** A new monitor, or a changed one. What it runs over is in the address, as in the list of traces. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, project, projectId, scopeHint } from "../../api/session.ts";
import type { MetricSummary, MonitorResponse, TargetCountResponse, TargetType } from "../../api/types.d.ts";
import { filterBody } from "../../lib/filters.ts";
import { count, inPercent, plural } from "../../lib/format.ts";
import { monitorFilters, paramsOfFilters } from "../../lib/monitor-filters.ts";
import { Field, useSending } from "../../ui/Field.tsx";
import { Filters } from "../../ui/table/Filters.tsx";
import { announce, Button, Loading, useTitle, Failed, Form, Select } from "../../ui/basics.tsx";
import { useDraft } from "../../ui/useDraft.ts";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState, type UrlState } from "../../url/state.ts";
import { CadencePicker } from "./CadencePicker.tsx";
import { useSettled } from "../../ui/useSettled.ts";
import { useCurl } from "../../ui/useCurl.ts";

const FIELDS = ["name", "metrics", "sampling_rate", "model", "votes", "max_cost_usd", "cadence", "filters"];

/** Where a monitor is edited: its filters are the query. */
export function editAddress(of: MonitorResponse): string {
  const params = paramsOfFilters(of.filters);
  params.set("edit", "1");
  return projectPath(`monitors/${of.id}?${params.toString()}`);
}

export function NewMonitor(): JSX.Element {
  useTitle("New monitor", project.value?.name);
  const url = useUrlState();
  const of: TargetType = url.params.get("of") === "sessions" ? "SESSION" : "TRACE";
  return <MonitorFields key={of} url={url} of={of} known={null} />;
}

export function EditMonitor({ of }: { of: MonitorResponse }): JSX.Element {
  return <MonitorFields url={useUrlState()} of={of.target_type} known={of} />;
}

function MonitorFields({ url, of, known }: { url: UrlState; of: TargetType; known: MonitorResponse | null }): JSX.Element {
  const [draft, put, forget] = useDraft(`${projectId.value}.monitor.${known?.id ?? of}`, {
    name: known?.name ?? "",
    metrics: known?.metric_names ?? [],
    cadence: known?.cadence ?? "cron:0 6 * * *",
    onlyChanged: known?.only_if_changed ?? true,
    settledOnly: known?.settled_only ?? true,
    share: String(inPercent(known?.sampling_rate ?? 1)),
    model: known?.model ?? "",
    votes: String(known?.votes ?? 1),
    most: known?.max_cost_usd == null ? "" : String(known.max_cost_usd),
  });
  const { name, cadence, onlyChanged, settledOnly, share, model, votes, most } = draft;
  const chosen = new Set(draft.metrics);
  const [, navigate] = useLocation();
  const sending = useSending(FIELDS);
  const isTraces = of === "TRACE";
  const metrics = useRead<MetricSummary[]>(`evaluations/${isTraces ? "trace" : "session"}-metrics`);
  const filters = monitorFilters(url.params, of, known?.filters ?? {}, filterBody);
  const rate = Number(share) / 100;
  const body = {
    name: name.trim(),
    metrics: [...chosen],
    filters,
    sampling_rate: rate,
    cadence,
    only_if_changed: onlyChanged,
    settled_only: settledOnly,
    votes: Number(votes),
    ...(model.trim() || known ? { model: model.trim() || null } : {}),
    ...(most || known ? { max_cost_usd: most ? Number(most) : null } : {}),
  };
  const key = useMemo(() => crypto.randomUUID(), [JSON.stringify(body)]); // pressing twice makes one
  const save = async (): Promise<void> => {
    let made = known;
    const worked = await sending.send(async () => {
      made = known
        ? await request<MonitorResponse>("PATCH", `evaluations/monitors/${known.id}`, { body: changes(body, known) })
        : await request<MonitorResponse>("POST", "evaluations/monitors", { body: { ...body, target_type: of }, headers: { "Idempotency-Key": key } });
    });
    if (!worked || made === null) return;
    forget();
    announce(known ? `Changed ${made.name}` : `Made ${made.name}`);
    void invalidate("evaluations/monitors");
    navigate(projectPath(`monitors/${made.id}`));
  };
  const allowed = may("evaluate");
  return (
    <div class="page monitor-form">
      <h1>{known ? `Edit ${known.name}` : "New monitor"}</h1>
      <Form send={save}>
        <Field label="Name" problem={sending.problemOf("name")}>
          {(own) => <input {...own} required maxLength={255} placeholder="nightly" value={name} onInput={(event) => put({ name: event.currentTarget.value })} />}
        </Field>
        {!known && (
          <div role="radiogroup" aria-label="Evaluates" class="fields">
            {(["traces", "sessions"] as const).map((one) => (
              <label key={one} class="check">
                <input type="radio" name="of" checked={isTraces === (one === "traces")} onChange={() => url.update({ of: one === "traces" ? null : one }, { push: true })} /> {one}
              </label>
            ))}
          </div>
        )}
        <fieldset>
          <legend>Which {isTraces ? "traces" : "sessions"}</legend>
          {isTraces ? <Filters url={url} /> : <SessionFilters url={url} />}
          <Matches of={of} filters={filters} rate={rate} settledOnly={settledOnly} />
          {sending.problemOf("filters") && <p class="problem">{sending.problemOf("filters")}</p>}
          <label class="check">
            <input type="checkbox" checked={onlyChanged} onChange={() => put({ onlyChanged: !onlyChanged })} /> Only what is new or has changed since the last run
          </label>
          <label class="check">
            <input type="checkbox" checked={settledOnly} onChange={() => put({ settledOnly: !settledOnly })} /> Only what has settled: no run over half a trace
          </label>
        </fieldset>
        <fieldset class="metrics-field">
          <legend>Metrics</legend>
          <Failed of={metrics} />
          {metrics.isPending && <Loading what="metrics" />}
          <div class="metrics">
            {metrics.data?.map((one) => (
              <label key={one.name} class="check">
                <input
                  type="checkbox"
                  checked={chosen.has(one.name)}
                  onChange={() => put({ metrics: chosen.has(one.name) ? draft.metrics.filter((name) => name !== one.name) : [...draft.metrics, one.name] })}
                />
                <span>
                  {one.name} <small>{one.description}</small>
                </span>
              </label>
            ))}
          </div>
          {sending.problemOf("metrics") && <p class="problem">{sending.problemOf("metrics")}</p>}
        </fieldset>
        <CadencePicker value={cadence} set={(next) => put({ cadence: next })} problem={sending.problemOf("cadence")} />
        <fieldset>
          <legend>Judge and cost</legend>
          <div class="fields">
            <Field label="Sampled share in percent" problem={sending.problemOf("sampling_rate")}>
              {(own) => <input {...own} type="number" min="0" max="100" step="any" required value={share} onInput={(event) => put({ share: event.currentTarget.value })} />}
            </Field>
            <Field label="Model" problem={sending.problemOf("model")}>
              {(own) => <input {...own} placeholder="the service’s default" value={model} onInput={(event) => put({ model: event.currentTarget.value })} />}
            </Field>
            <Field label="Votes" problem={sending.problemOf("votes")}>
              {(own) => (
                <Select {...own} value={votes} choose={(value) => put({ votes: value })} options={["1", "3", "5"]} />
              )}
            </Field>
            <Field label="Cost limit of a run in USD" problem={sending.problemOf("max_cost_usd")}>
              {(own) => <input {...own} type="number" min="0" step="any" placeholder="no limit" value={most} onInput={(event) => put({ most: event.currentTarget.value })} />}
            </Field>
          </div>
        </fieldset>
        <Failed of={sending} />
        <p class="actions">
          <Button type="submit" class="main" disabled={!allowed || sending.isBusy || chosen.size === 0} title={scopeHint("evaluate")}>
            {known ? "Save" : "Make the monitor"}
          </Button>
          <Link href={projectPath(known ? `monitors/${known.id}` : "monitors")} onClick={forget}>Cancel</Link>
          {chosen.size === 0 && <span class="hint">Choose a metric.</span>}
          {!allowed && <span class="hint">{scopeHint("evaluate")}.</span>}
        </p>
      </Form>
    </div>
  );
}

/** What differs from what is stored: a cadence that is sent again would restart. */
function changes(body: Record<string, unknown>, known: MonitorResponse): Record<string, unknown> {
  const { signal_weights: _, ...filters } = known.filters;
  const stored: Record<string, unknown> = { ...known, metrics: known.metric_names, filters };
  return Object.fromEntries(Object.entries(body).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(stored[name])));
}

function SessionFilters({ url }: { url: UrlState }): JSX.Element {
  const text = (parameter: string, label: string, placeholder: string, type = "text"): JSX.Element => (
    <Field label={label}>
      {(own) => <input {...own} type={type} min="1" placeholder={placeholder} value={url.params.get(parameter) ?? ""} onChange={(event) => url.update({ [parameter]: event.currentTarget.value.trim() || null })} />}
    </Field>
  );
  return (
    <div class="fields">
      {text("user_id", "User", "any")}
      {text("tags", "Tag", "any")}
      {text("min_trace_count", "Traces at least", "1", "number")}
      <Field label="Failures">
        {(own) => (
          <Select {...own} value={url.params.get("has_error")} choose={(value) => url.update({ has_error: value || null })} options={[["", "any"], ["true", "a trace failed"], ["false", "none failed"]]} />
        )}
      </Field>
    </div>
  );
}

/** How many the filters match now. */
function Matches({ of, filters, rate, settledOnly }: { of: TargetType; filters: Record<string, unknown>; rate: number; settledOnly: boolean }): JSX.Element {
  const path = `evaluations/${of === "TRACE" ? "trace" : "session"}-runs/count`;
  const settled = useSettled(JSON.stringify({ filters, sampling_rate: rate, settled_only: settledOnly }));
  const word = of === "TRACE" ? "trace" : "session";
  useCurl("Monitor", "the count", path, {}, JSON.parse(settled));
  const found = useRead<TargetCountResponse>(path, {}, { body: JSON.parse(settled), keepPrevious: true });
  return (
    <div class="hint" role="status">
      {found.isError ? (
        <Failed of={{ error: found.error }} />
      ) : found.data === undefined ? (
        "Counting …"
      ) : (
        <>
          {found.data.total_is_at_least ? "At least " : ""}
          <strong>{count(found.data.matches)}</strong> {found.data.matches === 1 ? `${word} matches` : `${word}s match`} now
          {rate < 1 && `, of which a run takes ${plural(found.data.targets, word)}`}
        </>
      )}
    </div>
  );
}
