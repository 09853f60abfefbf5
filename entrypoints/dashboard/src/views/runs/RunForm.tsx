/** What a run evaluates, by whom and for how much: metrics, judge, count of targets, estimate, start. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, scopeHint } from "../../api/session.ts";
import type { EvalRunEstimate, EvalRunResponse, MetricSummary, ProviderInfo, TargetCountResponse } from "../../api/types.d.ts";
import { NONE, cost, count, percent, plural } from "../../lib/format.ts";
import { Button, Loading, Failed, Form, Select } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useSettled } from "../../ui/useSettled.ts";
import type { UrlState } from "../../url/state.ts";
import { FORM, METRICS, RUNS, SIGNALS, weightsOf, type Of } from "../../lib/run-form.ts";
import { useCurl } from "../../ui/useCurl.ts";

const IDS_MAX = 10_000; // targets that one request may name
const VOTES = [1, 3, 5] as const;
const FIELDS = ["model", "votes", "max_cost_usd", "sampling_rate", "name", ...SIGNALS.map((name) => `signal_weights.${name}`)];

/** How a metric gets its number, and what it needs for that. */
export const METHODS: Record<MetricSummary["method"], { label: string; needs: string }> = {
  judged: { label: "Judged", needs: "asks the judge about each trace" },
  embedded: { label: "Compared", needs: "compares texts by their vectors, asks no judge" },
  measured: { label: "Computed", needs: "is computed from the trace, asks no judge" },
  rolled_up: { label: "From signals", needs: "asks the judge about traces without a score of a signal" },
};

interface RunFormProps {
  url: UrlState;
  of: Of;
  ids: readonly string[] | null; // null: all that match `filters`
  filters: Record<string, unknown>;
  started: (run: EvalRunResponse) => void;
}

export function RunForm({ url, of, ids, filters, started }: RunFormProps): JSX.Element {
  const { params, update } = url;
  const sending = useSending(FIELDS);
  const [share, votes, most] = [params.get(FORM.share) ?? "100", Number(params.get(FORM.votes) ?? 1), params.get(FORM.most) ?? ""];
  const metrics = useRead<MetricSummary[]>(METRICS[of]);
  const providers = useRead<ProviderInfo[]>("evaluations/providers");
  const known = new Set(metrics.data?.map((one) => one.name));
  const chosen = params.getAll(FORM.metric).filter((one) => metrics.data === undefined || known.has(one));
  const gone = params.getAll(FORM.metric).filter((one) => metrics.data !== undefined && !known.has(one));
  const rate = Number(share) / 100;
  const settledOnly = params.get(FORM.unsettled) === null;
  const path = `${RUNS[of]}${ids === null ? "" : "/batch"}`;
  const weights = weightsOf(params);
  const selection = ids === null ? { filters, sampling_rate: rate, settled_only: settledOnly } : null;
  const body = {
    metrics: chosen,
    votes,
    ...optional("name", params.get(FORM.title)?.trim()),
    ...optional("model", params.get(FORM.judge)?.trim()),
    ...(most ? { max_cost_usd: Number(most) } : {}),
    ...(of === "sessions" && Object.keys(weights).length > 0 ? { signal_weights: weights } : {}),
    ...(selection ?? { [of === "traces" ? "trace_ids" : "session_ids"]: ids }),
  };
  const sent = JSON.stringify(body);
  const key = useMemo(() => crypto.randomUUID(), [sent]); // pressing twice starts one run
  const isPossible = ids === null ? rate > 0 && rate <= 1 : ids.length > 0 && ids.length <= IDS_MAX;
  const counted = useAnswer<TargetCountResponse>(`${RUNS[of]}/count`, selection, isPossible);
  const canEstimate = isPossible && chosen.length > 0 && may("evaluate");
  const estimate = useAnswer<EvalRunEstimate>(`${path}/estimate`, body, canEstimate);
  useCurl("Run", "the estimate", canEstimate ? `${path}/estimate` : null, {}, body);
  const toggle = (name: string): void => {
    const next = chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name];
    update({ [FORM.metric]: next.length > 0 ? next : null });
  };
  const put = (name: string) => (event: { currentTarget: { value: string } }): void => update({ [name]: event.currentTarget.value || null });
  const start = (): Promise<boolean> =>
    sending.send(async () => {
      const run = await request<EvalRunResponse>("POST", path, { body, headers: { "Idempotency-Key": key } });
      void invalidate(RUNS[of]);
      started(run);
    });
  const allowed = may("evaluate");
  const what = of === "traces" ? "trace" : "session";
  return (
    <Form class="run-form" send={start}>
      <p role="status" class="targets">
        {ids !== null ? (
          ids.length > IDS_MAX ? (
            <span class="problem">At most {count(IDS_MAX)} {what}s can be named: score all that match instead.</span>
          ) : (
            plural(ids.length, `${what}`)
          )
        ) : counted.isError ? (
          <Failed of={counted} />
        ) : counted.data === undefined ? (
          "Counting …"
        ) : (
          <Targets counted={counted.data} what={what} />
        )}
      </p>
      <fieldset class="metrics-field">
        <legend>Metrics</legend>
        <Failed of={metrics} />
        {metrics.isPending && <Loading what="metrics" />}
        {gone.length > 0 && <p class="problem">Not available: {gone.join(", ")}</p>}
        {metrics.data && <MetricChoice metrics={metrics.data} chosen={chosen} toggle={toggle} />}
      </fieldset>
      <div class="fields">
        <Field label="Judge model" problem={sending.problemOf("model") ?? whyNot(params.get(FORM.judge) ?? "", providers.data ?? [])}>
          {(own) => (
            <>
              <input {...own} list="providers" placeholder="the service’s default" value={params.get(FORM.judge) ?? ""} onInput={put(FORM.judge)} />
              <datalist id="providers">
                {providers.data?.filter((one) => one.available).map((one) => <option key={one.key} value={one.key === "heuristic" ? "heuristic/1" : `${one.key}/`}>{one.name}</option>)}
              </datalist>
            </>
          )}
        </Field>
        <Field label="Votes" problem={sending.problemOf("votes")}>
          {(own) => (
            <Select {...own} value={String(votes)} choose={(value) => update({ [FORM.votes]: value === "1" ? null : value })} options={VOTES} />
          )}
        </Field>
        <Field label="Cost limit in USD" problem={sending.problemOf("max_cost_usd")}>
          {(own) => <input {...own} type="number" min="0" step="0.000001" placeholder="no limit" value={most} onInput={put(FORM.most)} />}
        </Field>
        {ids === null && (
          <Field label="Sampled share in percent" problem={sending.problemOf("sampling_rate")}>
            {(own) => <input {...own} type="number" min="0.0001" max="100" step="any" required value={share} onInput={put(FORM.share)} />}
          </Field>
        )}
        <Field label="Name" problem={sending.problemOf("name")}>
          {(own) => <input {...own} maxLength={255} placeholder="none" value={params.get(FORM.title) ?? ""} onInput={put(FORM.title)} />}
        </Field>
      </div>
      {of === "sessions" && (
        <details open={Object.keys(weights).length > 0}>
          <summary>Weights of signals</summary>
          <div class="fields">
            {SIGNALS.map((name) => (
              <Field key={name} label={name} problem={sending.problemOf(`signal_weights.${name}`)}>
                {(own) => <input {...own} type="number" min="0" step="any" placeholder="default" value={params.get(`weight.${name}`) ?? ""} onInput={put(`weight.${name}`)} />}
              </Field>
            ))}
          </div>
        </details>
      )}
      {ids === null && (
        <label class="check">
          <input type="checkbox" checked={settledOnly} onChange={() => update({ [FORM.unsettled]: settledOnly ? "1" : null })} /> Leave out OpenTelemetry traces that aren’t over yet
        </label>
      )}
      <Unavailable providers={providers.data ?? []} />
      <section aria-label="Estimate" class="estimate" aria-live="polite">
        {chosen.length === 0 ? (
          <p class="hint">Choose a metric to see what the run would cost.</p>
        ) : estimate.isError ? (
          <Failed of={estimate} />
        ) : estimate.data === undefined ? (
          allowed && isPossible && <Loading what="the estimate" />
        ) : (
          <Estimate data={estimate.data} most={most === "" ? null : Number(most)} what={what} />
        )}
      </section>
      <p class="actions">
        <Button type="submit" class="main" disabled={sending.isBusy || !allowed || chosen.length === 0 || estimate.data === undefined}>
          Start the run
        </Button>
        {!allowed && <span class="hint">{scopeHint("evaluate")}.</span>}
      </p>
      <Failed of={sending} />
    </Form>
  );
}

const PREFIXES: Record<string, string> = { gemini: "google_genai" }; // of models, where they aren't the provider's key

/** Why the provider of a model can't be asked; nothing if it can, or isn't known here. */
function whyNot(model: string, providers: readonly ProviderInfo[]): string | undefined {
  const prefix = model.split("/")[0]!.trim();
  const found = providers.find((one) => one.key === (PREFIXES[prefix] ?? prefix));
  return found && !found.available ? `${found.name} can’t be asked: ${found.message}` : undefined;
}

function optional(name: string, value: string | undefined): Record<string, string> {
  return value ? { [name]: value } : {};
}

/** The answer to a POST that changes nothing, once its body has not changed for a moment. */
function useAnswer<T>(path: string, body: unknown, isEnabled: boolean) {
  const sent = JSON.stringify(body);
  const settled = useSettled(sent);
  return useRead<T>(path, {}, { body: JSON.parse(settled), enabled: isEnabled && body !== null && settled === sent });
}

function Targets({ counted, what }: { counted: TargetCountResponse; what: string }): JSX.Element {
  const { matches, targets, total_is_at_least: isAtLeast } = counted;
  if (isAtLeast) return <span class="problem">More than {plural(matches, what)} match, of which one run would evaluate too many: narrow the filters, or take a smaller sample.</span>;
  if (matches === 0) return <span class="problem">No {what} matches.</span>;
  return (
    <>
      <strong>{plural(targets, what)}</strong> {targets === matches ? (matches === 1 ? "that matches" : "that match") : `of ${count(matches)} that match`}
    </>
  );
}

function MetricChoice({ metrics, chosen, toggle }: { metrics: readonly MetricSummary[]; chosen: readonly string[]; toggle: (name: string) => void }): JSX.Element {
  const methods = Object.keys(METHODS) as MetricSummary["method"][];
  return (
    <div class="metric-choice" role="group" aria-label="Metrics by how they are measured">
      {methods.map((method) => {
        const some = metrics.filter((one) => one.method === method);
        if (some.length === 0) return null;
        return (
          <section key={method} aria-label={METHODS[method].label}>
            <p>
              <strong>{METHODS[method].label}</strong> <small>{METHODS[method].needs}</small>
            </p>
            <div class="metrics">
              {some.map((one) => (
                <label key={one.name} class="check">
                  <input type="checkbox" checked={chosen.includes(one.name)} onChange={() => toggle(one.name)} />
                  <span>
                    {one.name} {one.revision !== null && <span class="tag">own</span>} <small>{one.description}</small>
                  </span>
                </label>
              ))}
            </div>
          </section>
        );
      })}
    </div>
  );
}

function Unavailable({ providers }: { providers: readonly ProviderInfo[] }): JSX.Element | null {
  const missing = providers.filter((one) => !one.available);
  if (missing.length === 0) return null;
  return (
    <details>
      <summary>{plural(missing.length, "provider isn’t", "providers aren’t")} available</summary>
      <ul>
        {missing.map((one) => (
          <li key={one.key}>
            {one.name}: <small>{one.message}</small>
          </li>
        ))}
      </ul>
    </details>
  );
}

function range(one: { low: number; high: number }, format: (value: number) => string): string {
  return one.low === one.high ? format(one.low) : `${format(one.low)} to ${format(one.high)}`;
}

function Estimate({ data, most, what }: { data: EvalRunEstimate; most: number | null; what: string }): JSX.Element {
  if (data.looked_at === 0 && data.questions.high === 0) return <p>No model is asked: {plural(data.targets, what)} for {cost(0)} ({data.model}).</p>;
  const isOver = most !== null && data.cost_usd !== null && data.cost_usd.high > most;
  return (
    <>
      <dl class="facts">
        <div><dt>{what === "trace" ? "Traces" : "Sessions"}</dt><dd>{count(data.targets)}</dd></div>
        <div><dt>Judge calls</dt><dd>{range(data.questions, count)}</dd></div>
        <div><dt>Tokens</dt><dd>{range({ low: data.input_tokens.low + data.output_tokens.low, high: data.input_tokens.high + data.output_tokens.high }, count)}</dd></div>
        <div><dt>Cost</dt><dd>{data.cost_usd === null ? <span title="The model has no price">{NONE} unknown</span> : range(data.cost_usd, cost)}</dd></div>
        <div><dt>Remembered</dt><dd>{data.remembered_share === null ? NONE : percent(data.remembered_share, 1)}</dd></div>
        <div><dt>Model</dt><dd>{data.model}</dd></div>
      </dl>
      {isOver && <p class="hint">It may reach the limit of {cost(most)}: what is left then is skipped.</p>}
      <small>
        From {plural(data.looked_at, "trace")}. {data.assumptions}
      </small>
    </>
  );
}

export function RunLink({ of, id, children }: { of: Of; id: string; children: string }): JSX.Element {
  return <Link class="button" href={`${projectPath("runs")}/${of}/${id}`}>{children}</Link>;
}
