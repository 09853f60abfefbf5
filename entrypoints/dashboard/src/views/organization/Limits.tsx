/** Budgets and other limits, what judges cost, and whether traces may be shared. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { session } from "../../api/session.ts";
import type { LimitsResponse, OrganizationUsageResponse, SharingResponse } from "../../api/types.d.ts";
import { cost, count, NONE, plural } from "../../lib/format.ts";
import { announce, Button, Loading, Failed, Form } from "../../ui/basics.tsx";
import { Modes } from "../../ui/Modes.tsx";
import { Confirm, type Question } from "../../ui/Confirm.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { Rows } from "../../ui/SubPages.tsx";
import { useUrlState } from "../../url/state.ts";
import { GROUP, lacking, type Place } from "./Organization.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const FIELDS = [
  ["monthly_usd", "Budget of all judges together", "USD a month; empty: no limit", "0.01"],
  ["project_monthly_usd", "Budget of a new project", "USD a month; empty: no limit", "0.01"],
  ["project_retention_days", "Retention of a new project", "Days; empty: for ever", "1"],
  ["key_days", "Lifetime of a new API key", "Days; empty: as its creator says", "1"],
] as const;

export function Limits({ path, role }: Place): JSX.Element {
  const answer = useRead<LimitsResponse>(`${path}/limits`);
  useCurl(GROUP, "the limits", `${path}/limits`);
  if (answer.isError) return <Failed of={answer} />;
  return answer.data === undefined ? <Loading what="limits" /> : <LimitsForm path={path} role={role} known={answer.data} />;
}

function LimitsForm({ path, role, known }: { path: string; role: string; known: LimitsResponse }): JSX.Element {
  const [given, give] = useState<Record<string, string>>({});
  const sending = useSending(FIELDS.map(([name]) => name));
  const why = lacking(role, "ADMIN");
  const textOf = (name: (typeof FIELDS)[number][0]): string => given[name] ?? String(known[name] ?? "");
  const save = async (): Promise<void> => {
    const body = Object.fromEntries(FIELDS.map(([name]) => [name, textOf(name) === "" ? null : Number(textOf(name))]));
    await request("PUT", `${path}/limits`, { body });
    announce("Saved the limits");
    await invalidate(path);
  };
  return (
    <Form class="narrow" send={() => sending.send(save)}>
      <p>
        Judges cost {cost(known.spent_usd, known.unpriced_calls)} in {known.month}
        {known.monthly_usd !== null && ` of ${cost(known.monthly_usd)}`}
        {known.unpriced_calls > 0 && `; ${plural(known.unpriced_calls, "call has", "calls have")} no price`}.
      </p>
      {known.monthly_usd !== null && known.monthly_usd > 0 && <progress aria-label="Share of the budget" value={known.spent_usd} max={known.monthly_usd} />}
      {FIELDS.map(([name, label, hint, step]) => (
        <Field key={name} label={label} hint={hint} problem={sending.problemOf(name)}>
          {(own) => (
            <input {...own} type="number" min="0" step={step} disabled={why !== undefined} value={textOf(name)} onInput={(event) => give({ ...given, [name]: event.currentTarget.value })} />
          )}
        </Field>
      ))}
      <p class="actions"><Button type="submit" class="main" disabled={sending.isBusy || why !== undefined}>Save</Button> {why && <span class="hint">{why}</span>}</p>
      <Failed of={sending} />
    </Form>
  );
}

const BY = ["project", "model", "metric", "day"] as const;

export function Costs({ path }: Place): JSX.Element {
  const url = useUrlState();
  const by = BY.find((one) => one === url.params.get("by")) ?? "project";
  const answer = useRead<OrganizationUsageResponse>(`${path}/usage`, { by });
  useCurl(GROUP, "the costs", `${path}/usage`, { by });
  const now = session.value;
  const named = (key: string): string => (by === "project" && now.state === "in" && now.projects.find((one) => one.id === key)?.name) || key || NONE;
  const total = answer.data?.total;
  return (
    <>
      <Modes label="By" of={BY} at={by} choose={(one) => url.update({ by: one }, { push: true })} />
      {total && (
        <p>
          {cost(total.cost_usd, total.unpriced_calls)} for {plural(total.calls, "call")} of judges this month
          {total.unpriced_calls > 0 && `; ${count(total.unpriced_calls)} without a price`}
          {total.failed_calls > 0 && `; ${count(total.failed_calls)} failed`}.
        </p>
      )}
      <Rows
        label="Judge costs"
        answer={answer}
        rows={answer.data?.parts}
        keyOf={(one) => one.key}
        empty="No judge was asked this month"
        cells={[
          [by, (one) => named(one.key)],
          ["Calls", (one) => count(one.calls)],
          ["Tokens", (one) => count(one.input_tokens + one.output_tokens)],
          ["Cost", (one) => cost(one.cost_usd, one.unpriced_calls)],
        ]}
      />
    </>
  );
}

export function Sharing({ path, role }: Place): JSX.Element {
  const answer = useRead<SharingResponse>(`${path}/sharing`);
  useCurl(GROUP, "the setting", `${path}/sharing`);
  const [question, ask] = useState<Question | null>(null);
  const sending = useSending();
  const why = lacking(role, "ADMIN");
  const put = async (allowed: boolean): Promise<void> => {
    await request("PUT", `${path}/sharing`, { body: { public_links: allowed } });
    await invalidate(path);
  };
  const allow = (): void => void sending.send(() => put(true).then(() => announce("Members may make public links")));
  const forbid = (): void =>
    ask({
      title: "Forbid public links?",
      text: "All public links of this organization stop to work at once. They don’t come back if links are allowed again.",
      act: "Forbid and revoke all",
      done: "Revoked all public links",
      run: () => put(false),
    });
  if (answer.isError) return <Failed of={answer} />;
  if (answer.data === undefined) return <Loading what="the setting" />;
  const isOn = answer.data.public_links;
  return (
    <div class="narrow">
      <label class="check">
        <input
          type="checkbox"
          role="switch"
          checked={isOn}
          disabled={why !== undefined || sending.isBusy}
          title={why}
          onChange={(event) => {
            event.currentTarget.checked = isOn; // until the service says so
            if (isOn) forbid();
            else allow();
          }}
        />
        Members may make public links to traces
      </label>
      <p class="hint">
        A public link shows one trace to anybody who has it, without an account, until it expires or is revoked. It shows nothing else of the project, never
        the user of the trace, and on request no payloads. The audit log has who shared what.
      </p>
      <Failed of={sending} />
      {question && <Confirm {...question} close={() => ask(null)} />}
    </div>
  );
}
