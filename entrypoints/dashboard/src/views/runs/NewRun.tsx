/** A new run: which traces or sessions, then the form that the list of traces has too. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { project } from "../../api/session.ts";
import { chips, filterBody, periodStart, PERIODS } from "../../lib/filters.ts";
import { duration } from "../../lib/format.ts";
import { useTitle, Select } from "../../ui/basics.tsx";
import { Modes } from "../../ui/Modes.tsx";
import { Link } from "../../ui/Link.tsx";
import { Field } from "../../ui/Field.tsx";
import { Chips, Filters } from "../../ui/table/Filters.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState, type UrlState } from "../../url/state.ts";
import { ofParam, sessionFilters } from "../../lib/run-form.ts";
import { RunForm } from "./RunForm.tsx";

export function NewRun(): JSX.Element {
  const url = useUrlState();
  const { params, update } = url;
  const [, navigate] = useLocation();
  const [now] = useState(Date.now());
  const of = ofParam(params.get("of"));
  useTitle("New run", project.value?.name);
  const given = params.get("ids");
  const ids = given === null ? null : [...new Set(given.split(/[\s,]+/).filter(Boolean))];
  const start = periodStart(params.get("period"), now);
  const filters = of === "traces" ? filterBody(params, now) : { ...sessionFilters(params), ...(start === null ? {} : { started_after: start }) };
  return (
    <div class="page new-run">
      <header class="title">
        <h1>New run</h1>
        <Modes label="Score" of={["traces", "sessions"]} at={of} choose={(one) => update({ of: one === "traces" ? null : one, metric: null, ids: null })} />
        <Modes label="Chosen by" of={["by filters", "by ids"]} at={ids === null ? "by filters" : "by ids"} choose={(one) => update({ ids: one === "by filters" ? null : (given ?? "") })} />
        {of === "traces" && ids === null && <Link href={`${projectPath("traces")}${location.search}`}>Show these traces</Link>}
      </header>
      {ids !== null ? (
        <Field label={`Ids of ${of}, one in a line`}>
          {(own) => <textarea {...own} rows={4} spellcheck={false} value={given ?? ""} onInput={(event) => update({ ids: event.currentTarget.value })} />}
        </Field>
      ) : (
        <div class="fields">
          <Field label="Started in">
            {(own) => (
              <Select {...own} value={params.get("period")} choose={(value) => update({ period: value || null, started_after: null, started_before: null })} options={[["", params.get("started_after") || params.get("started_before") ? `${params.get("started_after") ?? "the first"} to ${params.get("started_before") ?? "now"}` : "any time"], ...PERIODS.map((one) => [one.id, `the last ${one.label}`])]} />
            )}
          </Field>
          {of === "traces" ? <Filters url={url} /> : <SessionFields url={url} />}
        </div>
      )}
      <RunForm url={url} of={of} ids={ids} filters={filters} started={(run) => navigate(`${projectPath("runs")}/${of}/${run.id}`)} />
    </div>
  );
}

function SessionFields({ url }: { url: UrlState }): JSX.Element {
  const { params, update } = url;
  const put = (name: string) => (event: { currentTarget: { value: string } }): void => update({ [name]: event.currentTarget.value || null });
  const tags = params.getAll("tags").join(", ");
  const excluded = new URLSearchParams([...params].filter(([name]) => name === "not_user_id" || name === "not_tags"));
  return (
    <>
      <Field label="Id contains">{(own) => <input {...own} placeholder="anything" value={params.get("query") ?? ""} onInput={put("query")} />}</Field>
      <Field label="User">{(own) => <input {...own} placeholder="any" value={params.get("user_id") ?? ""} onInput={put("user_id")} />}</Field>
      <Field label="Any of these tags">
        {(own) => (
          <input
            {...own}
            placeholder="any"
            value={tags}
            onChange={(event) => {
              const some = event.currentTarget.value.split(",").map((one) => one.trim()).filter(Boolean);
              update({ tags: some.length > 0 ? some : null });
            }}
          />
        )}
      </Field>
      <Field label="Traces at least">
        {(own) => <input {...own} type="number" min="1" placeholder="1" value={params.get("min_trace_count") ?? ""} onInput={put("min_trace_count")} />}
      </Field>
      <Field label="A trace failed">
        {(own) => (
          <Select {...own} value={params.get("has_error")} choose={(value) => update({ has_error: value || null })} options={[["", "either"], ["true", "yes"], ["false", "no"]]} />
        )}
      </Field>
      <Chips chips={chips(excluded, duration)} url={url} />
    </>
  );
}

