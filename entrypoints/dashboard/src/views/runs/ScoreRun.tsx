/** A run of metrics over selected or matching traces: its estimate, its start, and its progress. */
import { useQuery } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, projectId, scopeHint } from "../../api/session.ts";
import type { EvalRunEstimate, EvalRunResponse, MetricSummary, ProviderInfo } from "../../api/types.d.ts";
import { filterBody } from "../../lib/filters.ts";
import { NONE, cost, count, plural, tracesText } from "../../lib/format.ts";
import { announce, Button, Dialog, FailureBox, Loading } from "../../ui/basics.tsx";
import type { UrlState } from "../../url/state.ts";

const POLL_MS = 3000;
const SELECTED_MAX = 10_000; // traces of one request
const VOTES = [1, 3, 5] as const;
const SETTLE_MS = 400; // after the last change, before an estimate is asked for

export interface ScoreProps {
  url: UrlState;
  total: number;
  isAtLeast: boolean; // more than `total` may match
  selected: readonly string[];
  close: () => void;
}

export function ScoreRun({ url, total, isAtLeast, selected, close }: ScoreProps): JSX.Element {
  const run = url.params.get("run");
  return run === null ? <StartRun url={url} total={total} isAtLeast={isAtLeast} selected={selected} close={close} /> : <RunProgress id={run} close={close} />;
}

function StartRun({ url, total, isAtLeast, selected, close }: ScoreProps): JSX.Element {
  const [of, setOf] = useState<"selected" | "all">(selected.length > 0 ? "selected" : "all");
  const [chosen, choose] = useState<ReadonlySet<string>>(new Set());
  const [model, setModel] = useState("");
  const [votes, setVotes] = useState(1);
  const [most, setMost] = useState("");
  const [share, setShare] = useState(100);
  const [name, setName] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [now] = useState(Date.now());
  const metrics = useRead<MetricSummary[]>("evaluations/trace-metrics");
  const providers = useRead<ProviderInfo[]>("evaluations/providers");
  const path = `evaluations/trace-runs${of === "selected" ? "/batch" : ""}`;
  const body = {
    metrics: [...chosen],
    votes,
    ...(name.trim() ? { name: name.trim() } : {}),
    ...(model.trim() ? { model: model.trim() } : {}),
    ...(most ? { max_cost_usd: Number(most) } : {}),
    ...(of === "selected" ? { trace_ids: selected } : { filters: filterBody(url.params, now), sampling_rate: share / 100 }),
  };
  const sent = JSON.stringify(body);
  const key = useMemo(() => crypto.randomUUID(), [sent]); // pressing twice starts one run
  const settled = useSettled(sent);
  const estimate = useQuery<EvalRunEstimate>({
    queryKey: [projectId.value, path, "estimate", settled],
    queryFn: ({ signal }) => request("POST", `${path}/estimate`, { body: JSON.parse(settled), signal }),
    enabled: chosen.size > 0 && settled === sent && !(of === "selected" && selected.length > SELECTED_MAX),
  });
  const start = async (): Promise<void> => {
    setError(null);
    setBusy(true);
    try {
      const made = await request<EvalRunResponse>("POST", path, { body, headers: { "Idempotency-Key": key } });
      url.update({ run: made.id });
    } catch (reason) {
      setError(reason);
    }
    setBusy(false);
  };
  const allowed = may("evaluate");
  return (
    <Dialog title="Score traces" close={close} wide>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void start();
        }}
      >
        {selected.length > 0 && (
          <div role="radiogroup" aria-label="Which traces" class="fields">
            <label class="check">
              <input type="radio" name="of" checked={of === "selected"} onChange={() => setOf("selected")} /> {plural(selected.length, "selected trace")}
            </label>
            <label class="check">
              <input type="radio" name="of" checked={of === "all"} onChange={() => setOf("all")} /> All {tracesText(total, isAtLeast)} that match
            </label>
          </div>
        )}
        {selected.length === 0 && <p>All {tracesText(total, isAtLeast)} that match now.</p>}
        {of === "selected" && selected.length > SELECTED_MAX && <p class="problem">At most {count(SELECTED_MAX)} traces: score all that match instead.</p>}
        <fieldset>
          <legend>Metrics</legend>
          {metrics.isError && <FailureBox error={metrics.error} again={() => void metrics.refetch()} />}
          {metrics.isPending && <Loading what="metrics" />}
          <div class="metrics">
            {metrics.data?.map((one) => (
              <label key={one.name} class="check">
                <input
                  type="checkbox"
                  checked={chosen.has(one.name)}
                  onChange={() => {
                    const next = new Set(chosen);
                    if (!next.delete(one.name)) next.add(one.name);
                    choose(next);
                  }}
                />
                <span>
                  {one.name} <small>{one.description}</small>
                </span>
              </label>
            ))}
          </div>
        </fieldset>
        <div class="fields">
          <label>
            Judge model
            <input list="providers" placeholder="the service’s default" value={model} onInput={(event) => setModel(event.currentTarget.value)} />
            <datalist id="providers">
              {providers.data?.filter((one) => one.available && one.key !== "heuristic").map((one) => <option key={one.key} value={`${one.key}/`}>{one.name}</option>)}
            </datalist>
          </label>
          <label>
            Votes
            <select value={String(votes)} onChange={(event) => setVotes(Number(event.currentTarget.value))}>
              {VOTES.map((one) => <option key={one} value={one}>{one}</option>)}
            </select>
          </label>
          <label>
            Most cost in USD
            <input type="number" min="0" step="0.000001" placeholder="no limit" value={most} onInput={(event) => setMost(event.currentTarget.value)} />
          </label>
          {of === "all" && (
            <label>
              Share in percent
              <input type="number" min="0.1" max="100" step="0.1" required value={share} onInput={(event) => setShare(Number(event.currentTarget.value))} />
            </label>
          )}
          <label>
            Name
            <input maxLength={255} placeholder="none" value={name} onInput={(event) => setName(event.currentTarget.value)} />
          </label>
        </div>
        <Unavailable providers={providers.data ?? []} />
        <section aria-label="Estimate" class="estimate" aria-live="polite">
          {chosen.size === 0 ? (
            <p class="hint">Choose a metric to see what the run would cost.</p>
          ) : estimate.isError ? (
            <FailureBox error={estimate.error} again={() => void estimate.refetch()} />
          ) : estimate.data === undefined ? (
            <Loading what="the estimate" />
          ) : (
            <Estimate data={estimate.data} />
          )}
        </section>
        <p class="actions">
          <Button type="submit" class="main" disabled={busy || !allowed || chosen.size === 0 || estimate.data === undefined}>
            Start the run
          </Button>
          {!allowed && <span class="hint">{scopeHint("evaluate")}.</span>}
        </p>
        {error !== null && <FailureBox error={error} />}
      </form>
    </Dialog>
  );
}

/** The value once it has not changed for a moment. */
function useSettled(value: string): string {
  const [settled, settle] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => settle(value), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
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

function Estimate({ data }: { data: EvalRunEstimate }): JSX.Element {
  return (
    <>
      <dl class="facts">
        <div><dt>Traces</dt><dd>{count(data.targets)}</dd></div>
        <div><dt>Judge calls</dt><dd>{range(data.questions, count)}</dd></div>
        <div><dt>Tokens</dt><dd>{range({ low: data.input_tokens.low + data.output_tokens.low, high: data.input_tokens.high + data.output_tokens.high }, count)}</dd></div>
        <div><dt>Cost</dt><dd>{data.cost_usd === null ? <span title="The model has no price">{NONE} unknown</span> : range(data.cost_usd, cost)}</dd></div>
        <div><dt>Remembered</dt><dd>{Math.round(data.remembered_share * 100)} %</dd></div>
        <div><dt>Model</dt><dd>{data.model}</dd></div>
      </dl>
      <small>
        From {plural(data.looked_at, "trace")}. {data.assumptions}
      </small>
    </>
  );
}

function RunProgress({ id, close }: { id: string; close: () => void }): JSX.Element {
  const [error, setError] = useState<unknown>(null);
  const path = `evaluations/trace-runs/${encodeURIComponent(id)}`;
  const [isOver, setOver] = useState(false);
  const answer = useRead<EvalRunResponse>(path, {}, { pollMs: isOver ? false : POLL_MS });
  const run = answer.data;
  const status = run?.status;
  useEffect(() => {
    if (status === undefined || status === "PENDING" || status === "RUNNING") return;
    setOver(true);
    announce(`The run is ${status.toLowerCase()}`);
    void invalidate("traces");
  }, [status]);
  const cancel = async (): Promise<void> => {
    try {
      await request("POST", `${path}/cancel`);
      await answer.refetch();
    } catch (reason) {
      setError(reason);
    }
  };
  if (answer.isError) {
    return (
      <Dialog title="Run" close={close}>
        <FailureBox error={answer.error} again={() => void answer.refetch()} />
      </Dialog>
    );
  }
  const scores = run ? run.total_targets * run.metric_names.length : 0;
  return (
    <Dialog title={run?.name ?? "Run"} close={close}>
      {run === undefined ? (
        <Loading what="the run" />
      ) : (
        <>
          <p role="status">
            {run.status.toLowerCase()}: {run.metric_names.join(", ")}
          </p>
          <progress aria-label="Progress" max={Math.max(1, run.total_targets)} value={run.evaluated_count} />
          <dl class="facts">
            <div><dt>Traces done</dt><dd>{count(run.evaluated_count)} of {count(run.total_targets)}</dd></div>
            <div><dt>Scores skipped</dt><dd>{count(run.skipped_count)} of {count(scores)}</dd></div>
            <div><dt>Scores failed</dt><dd class={run.failed_count > 0 ? "bad-text" : ""}>{count(run.failed_count)} of {count(scores)}</dd></div>
          </dl>
          {run.waiting_for && <p class="hint">{run.waiting_for.reason}</p>}
          {run.error_message && <p class="problem">{run.error_message}</p>}
          <p class="hint">{isOver ? "The scores are in the column Scores and in each trace." : "The run goes on if you close this."}</p>
          <p class="actions">
            <Button class="main" onClick={close}>Close</Button>
            {!isOver && <Button onClick={() => void cancel()}>Cancel the run</Button>}
          </p>
        </>
      )}
      {error !== null && <FailureBox error={error} />}
    </Dialog>
  );
}
