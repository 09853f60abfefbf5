/** The scores themselves, newest first, each with what it is of; they can be changed and deleted. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, scopeHint } from "../../api/session.ts";
import type { ScoreRevisionResponse, SessionScoreResponse, TraceScoreResponse } from "../../api/types.d.ts";
import { ago, cost, fullInstant, NONE, startOf } from "../../lib/format.ts";
import { originalOf, type Target } from "../../lib/score-figures.ts";
import { announce, Button, Dialog, Failed, Form, valueTo, Select } from "../../ui/basics.tsx";
import { Reason, TITLE_LENGTH } from "../../ui/LongText.tsx";
import { Link } from "../../ui/Link.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { Paged, Total } from "../../ui/table/Paged.tsx";
import { usePages } from "../../ui/table/usePages.ts";
import { useMark, VirtualTable, type Column } from "../../ui/table/VirtualTable.tsx";
import type { UrlState } from "../../url/state.ts";
import { Head } from "../../ui/Head.tsx";

type Score = TraceScoreResponse | SessionScoreResponse;

const OUTCOMES = ["scored", "skipped", "failed", "pending"];

function memberOf(of: unknown, name: string): unknown {
  return (of as Record<string, unknown> | null)?.[name];
}

function costOf(score: Score): string {
  const usd = memberOf(memberOf(score.metadata, "usage"), "usd");
  return usd == null ? NONE : cost(Number(usd));
}

function Of({ score }: { score: Score }): JSX.Element {
  if ("session_id" in score) return <Link href={projectPath(`sessions/${encodeURIComponent(score.session_id)}`)}>{score.session_id}</Link>;
  const query = score.span_id === null ? "tab=scores" : `span=${score.span_id}&tab=scores`;
  return <Link href={`${projectPath(`traces/${score.trace_id}`)}?${query}`}>{(score.span_id ?? score.trace_id).slice(0, 8)}</Link>;
}

export function ScoreList({ of, name, dates, url }: { of: Target; name: string; dates: Record<string, string>; url: UrlState }): JSX.Element {
  const path = of === "session" ? "evaluations/session-scores" : "evaluations/trace-scores";
  const outcome = url.params.get("outcome");
  const query = { name, ...dates, ...(of === "span" ? { of_spans: true } : {}), ...(outcome === null ? {} : { outcome }), min_value: url.params.get("min_value"), below_value: url.params.get("below_value") };
  const pages = usePages<Score>(path, query);
  const [editing, edit] = useState<Score | null>(null);
  const { rows } = pages;
  const { at } = useMark(rows.map((row) => row.id));
  const columns: Column<Score>[] = [
    { id: "value", label: "Value", cell: (row) => <span class={`o-${row.outcome}`}>{row.value ?? `${NONE} ${row.outcome}`}{originalOf(row.metadata) !== null && <small> was {originalOf(row.metadata)}</small>}</span> },
    { id: "of", label: of === "session" ? "Session" : of === "span" ? "Span" : "Trace", className: "c-name", cell: (row) => <Of score={row} /> },
    { id: "reason", label: "Reason", className: "c-preview", cell: (row) => <span title={startOf(row.reason ?? "", TITLE_LENGTH)}>{row.reason == null ? NONE : startOf(row.reason, 200)}</span> },
    { id: "judge", label: "By", cell: (row) => String(memberOf(row.metadata, "model") ?? memberOf(row.metadata, "judge_kind") ?? row.source.toLowerCase()) },
    { id: "cost", label: "Cost", className: "c-number", cell: (row) => <>{costOf(row)}{memberOf(row.metadata, "cache") === "hit" && <span class="tag">cached</span>}</> },
    { id: "at", label: "Created", className: "c-time", cell: (row) => <time title={fullInstant(row.created_at)}>{ago(row.created_at)}</time> },
    { id: "edit", label: "Change", isHiddenLabel: true, cell: (row) => <button type="button" class="link" aria-label={`Change the score ${row.value ?? row.outcome}`} onClick={() => edit(row)}>Change …</button> },
  ];
  return (
    <section class="panel wide score-list" aria-label="The scores">
      <header>
        <h2>Scores</h2>
        <Total of={pages} what="score" class="hint" />
        <Select aria-label="Outcome" value={outcome} choose={(value) => url.update({ outcome: value || null }, { push: true })} options={[["", "every outcome"], ...OUTCOMES]} />
        {query.min_value !== null && (
          <Button icon="close" onClick={() => url.update({ min_value: null, below_value: null }, { push: true })}>
            {`from ${query.min_value}${query.below_value === null ? "" : `, below ${query.below_value}`}`}
          </Button>
        )}
      </header>
      <Paged of={pages} what="scores" empty={<p class="none">No such score in this period.</p>}>
        {() => <VirtualTable<Score> label="Scores" rows={rows} total={pages.total} columns={columns} rowKey={(row) => row.id} at={at} onNearEnd={pages.more} />}
      </Paged>
      {editing && <Edit score={editing} path={`${path}/${editing.id}`} close={() => edit(null)} />}
    </section>
  );
}

function Edit({ score, path, close }: { score: Score; path: string; close: () => void }): JSX.Element {
  const [value, setValue] = useState(score.value ?? "");
  const [reason, setReason] = useState(score.reason ?? "");
  const sending = useSending(["value", "reason"]);
  const history = useRead<ScoreRevisionResponse[]>(`${path}/history`);
  const isAllowed = may("evaluate");
  const finish = async (work: () => Promise<unknown>, text: string): Promise<void> => {
    if (!(await sending.send(work))) return;
    announce(text);
    close();
    await Promise.all([invalidate("evaluations/"), invalidate("traces"), invalidate("sessions")]);
  };
  return (
    <Dialog title={`Score ${score.name}`} close={close}>
      <Form send={() => {
          const body = { ...(value !== (score.value ?? "") ? { value } : {}), ...(reason !== (score.reason ?? "") ? { reason } : {}) };
          void finish(() => request("PATCH", path, { body }), "Changed the score");
        }}>
        <Field label={score.data_type === "NUMERIC" ? "Value, from 0 to 1" : "Value"} problem={sending.problemOf("value")} hint={originalOf(score.metadata) === null ? "" : `The judge had said ${originalOf(score.metadata)}`}>
          {(own) => <input {...own} autoFocus maxLength={255} value={value} onInput={valueTo(setValue)} />}
        </Field>
        <Field label="Reason" problem={sending.problemOf("reason")}>
          {(own) => <textarea {...own} rows={3} value={reason} onInput={valueTo(setReason)} />}
        </Field>
        <Failed of={sending} />
        <p class="actions">
          <Button type="submit" class="main" disabled={!isAllowed || sending.isBusy} title={scopeHint("evaluate")}>Change</Button>
          {history.data && history.data.length > 0 && (
            <Button disabled={!isAllowed || !may("read") || sending.isBusy} title={scopeHint("evaluate", "read")} onClick={() => void finish(() => request("POST", `${path}/undo`), "Took the last change back")}>Take the last change back</Button>
          )}
          <Button class="danger" disabled={!isAllowed || sending.isBusy} title={isAllowed ? "Deletes this score, which can't be undone" : scopeHint("evaluate")} onClick={() => void finish(() => request("DELETE", path), "Deleted the score")}>Delete this score</Button>
        </p>
      </Form>
      {history.data && history.data.length > 0 && (
        <table class="plain-table">
          <Head of={["Changed", "From", "To", "Reason before"]} />
          <tbody>
            {history.data.map((one) => (
              <tr key={one.changed_at}>
                <th scope="row"><time title={fullInstant(one.changed_at)}>{ago(one.changed_at)}</time></th>
                <td>{one.before.value ?? NONE} <small>{one.before.source.toLowerCase()}</small></td>
                <td>{one.after.value ?? NONE}</td>
                <td><Reason text={one.before.reason} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Dialog>
  );
}
