/** Copies traces into a dataset: the selected ones, or all that match the filters of the list. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, scopeHint } from "../../api/session.ts";
import type { DatasetResponse, TracesCopied } from "../../api/types.d.ts";
import { TEXT_HINT, filterBody } from "../../lib/filters.ts";
import { count, plural, tracesText } from "../../lib/format.ts";
import { Button, Dialog, Loading, Failed, Form, valueTo, Select } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import type { UrlState } from "../../url/state.ts";

interface Props {
  url: UrlState;
  total: number;
  isAtLeast: boolean;
  selected: readonly string[];
  close: () => void;
}

export function AddToDataset({ url, total, isAtLeast, selected, close }: Props): JSX.Element {
  const known = useRead<DatasetResponse[]>("datasets");
  const [name, setName] = useState("");
  const [split, setSplit] = useState("");
  const [expected, setExpected] = useState("none");
  const [copied, setCopied] = useState<TracesCopied | null>(null);
  const sending = useSending(["split", "expected"]);
  const which = selected.length > 0 ? plural(selected.length, "trace") : tracesText(total, isAtLeast);
  const chosen = name || known.data?.[0]?.name;
  const isText = url.params.has("query") && selected.length === 0;
  const add = (): Promise<boolean> =>
    sending.send(async () => {
      const of = selected.length > 0 ? { trace_ids: selected } : { filters: filterBody(url.params, Date.now()) };
      setCopied(await request<TracesCopied>("POST", `datasets/${encodeURIComponent(chosen!)}/items/from-traces`, { body: { ...of, expected, split: split || null } }));
      await invalidate("datasets");
    });
  return (
    <Dialog title={`Add ${which} to a dataset`} close={close}>
      {known.isPending && <Loading what="datasets" />}
      <Failed of={known} />
      {known.data?.length === 0 && <p>No dataset yet. <Link href={projectPath("datasets")}>Make one</Link> first.</p>}
      {copied && (
        <p role="status">
          {plural(copied.created, "item")} added, {count(copied.changed)} changed, {count(copied.unchanged)} unchanged, {count(copied.rejected.length)} rejected.{" "}
          <Link href={projectPath(`datasets/${encodeURIComponent(chosen!)}`)}>Open {chosen}</Link>
        </p>
      )}
      {known.data && known.data.length > 0 && copied === null && (
        <Form send={add}>
          <Field label="Dataset">
            {(own) => <Select {...own} value={chosen} choose={setName} options={known.data.map((one) => one.name)} />}
          </Field>
          <Field label="What is expected" problem={sending.problemOf("expected")}>
            {(own) => <Select {...own} value={expected} choose={setExpected} options={[["none", "nothing"], ["output", "the output of the trace"]]} />}
          </Field>
          <Field label="Split" hint="Such as test; empty for none" problem={sending.problemOf("split")}>
            {(own) => <input {...own} maxLength={63} value={split} onInput={valueTo(setSplit)} />}
          </Field>
          {isText && <p class="problem">{TEXT_HINT}.</p>}
          <p class="actions"><Button type="submit" class="main" disabled={sending.isBusy || isText || !may("evaluate") || !may("read")} title={scopeHint("evaluate", "read")}>Add {which}</Button></p>
          <Failed of={sending} />
        </Form>
      )}
    </Dialog>
  );
}
