/** An alert, and while it is typed, what it would have said over the last runs. */
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import type { AlertResponse, MonitorResponse, PreviewedRunItem } from "../../api/types.d.ts";
import { plural } from "../../lib/format.ts";
import { Field, useSending } from "../../ui/Field.tsx";
import { announce, Button, Dialog, Loading, Failed, Form, Select } from "../../ui/basics.tsx";
import { useSettled } from "../../ui/useSettled.ts";
import { FIGURES, State, type AlertFigure } from "./parts.tsx";
import { RunChart } from "./RunChart.tsx";

const NUMBERS = ["threshold", "clear_at", "samples_min", "breaches", "recoveries"] as const;
type Numbers = Record<(typeof NUMBERS)[number], string>;

export function AlertForm({ monitor, alert, close }: { monitor: MonitorResponse; alert: AlertResponse | null; close: () => void }): JSX.Element {
  const [metric, setMetric] = useState(alert?.metric ?? monitor.metric_names[0] ?? "");
  const [figure, setFigure] = useState<AlertFigure>(alert?.figure ?? "score_mean");
  const [numbers, setNumbers] = useState<Numbers>(() => ({
    threshold: String(alert?.threshold ?? 0.7),
    clear_at: alert === null || alert.clear_at === alert.threshold ? "" : String(alert.clear_at),
    samples_min: String(alert?.samples_min ?? 5),
    breaches: String(alert?.breaches ?? 1),
    recoveries: String(alert?.recoveries ?? 1),
  }));
  const sending = useSending(["metric", "figure", ...NUMBERS]);
  const { bad, hint } = FIGURES[figure];
  const hasLimit = bad !== null;
  const counts = { samples_min: Number(numbers.samples_min), breaches: Number(numbers.breaches), recoveries: Number(numbers.recoveries) };
  const limits = hasLimit ? { threshold: numbers.threshold === "" ? null : Number(numbers.threshold), clear_at: numbers.clear_at === "" ? null : Number(numbers.clear_at) } : {};
  const rule = { metric, figure, ...limits, ...counts };
  const sent = JSON.stringify(rule);
  const key = useMemo(() => crypto.randomUUID(), [sent]); // pressing twice makes one alert
  const path = `evaluations/monitors/${monitor.id}/alerts`;
  const save = async (): Promise<void> => {
    const worked = await sending.send(() =>
      alert === null
        ? request("POST", path, { body: rule, headers: { "Idempotency-Key": key } })
        : request("PATCH", `${path}/${alert.id}`, { body: { ...(hasLimit ? limits : {}), ...counts } }),
    );
    if (!worked) return;
    announce(alert === null ? "Made the alert" : "Changed the alert");
    close();
    await invalidate("evaluations/");
  };
  const set = (name: keyof Numbers, value: string): void => setNumbers({ ...numbers, [name]: value });
  const number = (name: keyof Numbers, label: string, more: { hint?: string; max: number; step: number | "any"; min: number; placeholder?: string; required?: boolean }): JSX.Element => (
    <Field label={label} {...(more.hint ? { hint: more.hint } : {})} problem={sending.problemOf(name)}>
      {(own) => (
        <input
          {...own}
          type="number"
          min={more.min}
          max={more.max}
          step={more.step}
          placeholder={more.placeholder ?? ""}
          required={more.required ?? true}
          value={numbers[name]}
          autoFocus={name === "threshold"}
          onInput={(event) => set(name, event.currentTarget.value)}
        />
      )}
    </Field>
  );
  return (
    <Dialog title={alert === null ? `New alert of ${monitor.name}` : `Alert on ${alert.metric}`} close={close} wide>
      <Form class="alert-form" send={save}>
        <div class="fields">
          <Field label="Metric" problem={sending.problemOf("metric")}>
            {(own) => (
              <Select {...own} value={metric} disabled={alert !== null} choose={setMetric} options={monitor.metric_names} />
            )}
          </Field>
          <Field label="Figure" hint={hint} problem={sending.problemOf("figure")}>
            {(own) => (
              <Select {...own} value={figure} disabled={alert !== null} choose={(value) => setFigure(value as AlertFigure)} options={Object.entries(FIGURES).map(([value, one]) => [value, one.label])} />
            )}
          </Field>
          {hasLimit && number("threshold", `Alerts ${bad}`, { min: 0, max: 1, step: "any" })}
          {hasLimit && number("clear_at", "Ok again at", { min: 0, max: 1, step: "any", required: false, placeholder: numbers.threshold, hint: "values between count for neither" })}
          {number("samples_min", "Scores needed", { min: 1, max: 100_000, step: 1, hint: "fewer are no data" })}
          {number("breaches", "Bad runs in a row", { min: 1, max: 100, step: 1 })}
          {number("recoveries", "Good runs in a row", { min: 1, max: 100, step: 1, hint: "until it is ok again" })}
        </div>
        <Preview path={`${path}/preview`} sent={sent} limits={limits} target={monitor.target_type} />
        <Failed of={sending} />
        <p class="actions">
          <Button type="submit" class="main" disabled={sending.isBusy}>{alert === null ? "Make the alert" : "Save"}</Button>
          {alert !== null && <span class="hint">It keeps its state until the next run.</span>}
        </p>
      </Form>
    </Dialog>
  );
}

/** What an alert with these settings would have said, by the rules that evaluate alerts. */
function Preview({ path, sent, limits, target }: { target: MonitorResponse["target_type"]; path: string; sent: string; limits: { threshold?: number | null; clear_at?: number | null } }): JSX.Element {
  const settled = useSettled(sent);
  const seen = useRead<PreviewedRunItem[]>(path, {}, { body: JSON.parse(settled), keepPrevious: true });
  const lines = [
    ...(limits.threshold != null ? [{ value: limits.threshold, label: "alerts at" }] : []),
    ...(limits.clear_at != null ? [{ value: limits.clear_at, label: "ok at" }] : []),
  ];
  const runs = seen.data ?? [];
  const raised = runs.filter((one) => one.before !== "ALERTING" && one.state === "ALERTING").length;
  const last = runs.at(-1);
  return (
    <section class="preview" aria-label="What it would have said" aria-live="polite">
      {seen.isError ? (
        <p class="problem">{seen.error instanceof Error ? seen.error.message : String(seen.error)}</p>
      ) : seen.data === undefined ? (
        <Loading what="the preview" />
      ) : last === undefined ? (
        <p class="none">The monitor has no finished run yet, so nothing is known of what it would have said.</p>
      ) : (
        <>
          <p>
            Over the last {runs.length === 1 ? "run" : plural(runs.length, "run")} it would have alerted <strong>{raised === 0 ? "never" : raised === 1 ? "once" : `${raised} times`}</strong>, and be <State value={last.state} /> now.
          </p>
          <RunChart title="Its value after each run" runs={runs} of="value" limits={lines} hasStates target={target} />
        </>
      )}
    </section>
  );
}
