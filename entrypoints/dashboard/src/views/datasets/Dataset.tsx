/** A dataset: its versions and items. Version and split are in the address. */
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { readBlob, request, type Query } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, project, scopeHint } from "../../api/session.ts";
import { readVerbatim } from "../../api/verbatim.ts";
import type { DatasetItemResponse, DatasetResponse, DatasetVersionResponse } from "../../api/types.d.ts";
import { NONE, ago, count, instant, plural, startOf } from "../../lib/format.ts";
import { announce, Button, Copy, Dialog, Empty, FailureBox, Loading, useTitle, Failed, Select } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { useSending } from "../../ui/Field.tsx";
import { save } from "../../ui/save.ts";
import { projectPath } from "../../ui/Shell.tsx";
import { More, Paged, Total } from "../../ui/table/Paged.tsx";
import { usePages, type Page } from "../../ui/table/usePages.ts";
import { useUrlState } from "../../url/state.ts";
import { Head } from "../../ui/Head.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const LINES_AT_A_TIME = 1000;
const SHOWN_CHARS = 300;

export function Dataset({ name }: { name: string }): JSX.Element {
  const path = `datasets/${encodeURIComponent(name)}`;
  const { params, update } = useUrlState();
  const [, navigate] = useLocation();
  useTitle(name, "Datasets", project.value?.name);
  const found = useRead<DatasetResponse>(path);
  const versions = useRead<DatasetVersionResponse[]>(`${path}/versions`);
  const [version, split] = [params.get("version"), params.get("split")];
  useCurl("Dataset", "the items", `${path}/items`, { version, split });
  const items = usePages(`${path}/items`, { version, split }, { read: readItems<DatasetItemResponse> });
  const [leaving, leave] = useState<string | null>(null); // an item, or "" for the dataset
  const sending = useSending();
  const file = useRef<HTMLInputElement>(null);
  const isNewest = version === null;
  const refresh = (): Promise<unknown> => invalidate("datasets");
  const importLines = async (given: File): Promise<void> => {
    const lines = (await given.text()).split("\n").filter((line) => line.trim() !== "");
    for (let start = 0; start < lines.length; start += LINES_AT_A_TIME) {
      // The lines as they are: no number passes through a float.
      await request("POST", `${path}/items/batch`, { text: `{"items":[${lines.slice(start, start + LINES_AT_A_TIME).join(",")}]}` });
      announce(`${count(Math.min(lines.length, start + LINES_AT_A_TIME))} of ${plural(lines.length, "item")} written`);
    }
    await refresh();
  };
  const exportAs = async (format: string): Promise<void> => {
    const query = new URLSearchParams({ format, ...(version ? { version } : {}), ...(split ? { split } : {}) });
    const { blob, name: given } = await readBlob(`${path}/export?${query}`);
    save(blob, given ?? `${name}.${format}`);
  };
  const remove = async (): Promise<void> => {
    const isDone = await sending.send(() => request("DELETE", leaving === "" ? path : `${path}/items/${encodeURIComponent(leaving!)}`));
    if (!isDone) return;
    const isGone = leaving === "";
    leave(null);
    if (isGone) navigate(projectPath("datasets"));
    await refresh();
  };
  if (found.isError) {
    return (
      <div class="page">
        <h1>Dataset</h1>
        <Failed of={found} />
        <Link href={projectPath("datasets")}>All datasets</Link>
      </div>
    );
  }
  if (found.isPending) return <Loading what="the dataset" />;
  const hint = scopeHint("evaluate");
  return (
    <div class="list-main scrolled">
      <header class="title">
        <h1>{name}</h1>
        <Total of={items} what="item" />
        <Select aria-label="Version" value={version} choose={(value) => update({ version: value || null }, { push: true })} options={[["", "newest version"], ...(versions.data?.map((one) => [one.version, `version ${one.version_number}, ${plural(one.items, "item")}, ${instant(one.created_at)}`]) ?? [])]} />
        <input aria-label="Split" placeholder="every split" value={split ?? ""} onChange={(event) => update({ split: event.currentTarget.value || null }, { push: true })} />
        <Link href={`${projectPath("experiments")}?dataset=${encodeURIComponent(name)}`}>Experiments</Link>
        <span class="actions">
          <Button disabled={!may("evaluate")} title={hint} onClick={() => file.current?.click()}>Import NDJSON …</Button>
          <Button onClick={() => void sending.send(() => exportAs("ndjson"))}>Export NDJSON</Button>
          <Button onClick={() => void sending.send(() => exportAs("csv"))}>Export CSV</Button>
          <Button class="danger" disabled={!may("evaluate")} title={hint} onClick={() => leave("")}>Delete …</Button>
        </span>
        <input
          ref={file}
          type="file"
          accept=".ndjson,.jsonl"
          aria-label="File with an item on each line"
          hidden
          onChange={(event) => {
            const [given] = event.currentTarget.files ?? [];
            event.currentTarget.value = "";
            if (given) void sending.send(() => importLines(given));
          }}
        />
      </header>
      {found.data.description && <p class="hint">{found.data.description}</p>}
      <p class="hint">
        Version {count(found.data.version_number)}, <code>{found.data.version.slice(0, 12)}</code> <Copy text={found.data.version} label="Copy the hash of the version" /> changed {ago(found.data.updated_at)}. Equal hashes are the same test.
      </p>
      {sending.error != null && leaving === null && <FailureBox error={sending.error} />}
      <Paged of={items} what="items" empty={<Empty title={split || version ? "This version has no such item" : "No item yet"}>
          <p>Select traces in the list of traces and add them, or import a file with an item on each line.</p>
        </Empty>}>
        {() => (
        <div class="scroll-x">
          <table class="plain-table items">
            <Head of={["Item", "Input", "Expected", "Split", "Trace", "!Delete"]} />
            <tbody>
              {items.rows.map((row) => (
                <tr key={row.id}>
                  <th scope="row">{row.id}</th>
                  <td><Brief value={row.input} /></td>
                  <td>{row.expected === null ? <span class="none" title="Nothing is expected">{NONE}</span> : <Brief value={row.expected} />}</td>
                  <td>{row.split ?? <span class="none">{NONE}</span>}</td>
                  <td>{row.from_trace ? <Link href={projectPath(`traces/${row.from_trace}`)}>trace</Link> : <span class="none">{NONE}</span>}</td>
                  <td>{isNewest && <Button class="link danger" disabled={!may("evaluate")} title={hint} label={`Delete ${row.id}`} onClick={() => leave(row.id)}>Delete …</Button>}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <More of={items} />
        </div>
        )}
      </Paged>
      {leaving !== null && (
        <Dialog title={leaving === "" ? `Delete the dataset ${name}?` : `Delete the item ${leaving}?`} close={() => leave(null)}>
          <p>{leaving === "" ? `${plural(found.data.items, "item")} and all versions are deleted. This can’t be undone. A dataset with experiments can’t be deleted.` : "The next version is without it. Earlier versions keep it."}</p>
          <p class="actions">
            <Button autoFocus onClick={() => leave(null)}>Cancel</Button>
            <Button class="danger" disabled={sending.isBusy} onClick={() => void remove()}>Delete</Button>
          </p>
          <Failed of={sending} />
        </Dialog>
      )}
    </div>
  );
}

/** A page of items. Their values are JSON texts, as they were sent. */
export function readItems<T>(path: string, query: Query, signal: AbortSignal): Promise<Page<T>> {
  return readVerbatim(path, query, ["input", "expected"], signal);
}

/** A value as JSON; a long one is cut, and can be shown whole. */
export function Brief({ value }: { value: unknown }): JSX.Element {
  const [isWhole, show] = useState(false);
  const json = String(value);
  const text = json.startsWith('"') ? (JSON.parse(json) as string) : json;
  if (isWhole || text.length <= SHOWN_CHARS) return <code class="plain">{text}</code>;
  return (
    <>
      <code class="plain">{startOf(text, SHOWN_CHARS)} …</code> <Button class="link" onClick={() => show(true)}>all {count(text.length)} characters</Button>
    </>
  );
}
