/** Exports of a project: start one for the filters of the list, follow it, download its file. */
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { address, request } from "../../api/client.ts";
import { readTraceLine } from "../../api/whole-trace.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may } from "../../api/session.ts";
import type { DownloadTicketResponse, ExportResponse } from "../../api/types.d.ts";
import { chips, filterBody } from "../../lib/filters.ts";
import { ago, bytes, count, duration, fullInstant, plural, tracesText } from "../../lib/format.ts";
import { announce, Button, Copy, Dialog, Loading, Failed, Form, Select } from "../../ui/basics.tsx";
import { useSending, type Sending } from "../../ui/Field.tsx";
import { follow, save } from "../../ui/save.ts";
import type { UrlState } from "../../url/state.ts";
import { copyCurl } from "../../ui/useCurl.ts";

const POLL_MS = 2000;
const SELECTED_MAX = 200; // traces that are read one by one

interface ExportsProps {
  url: UrlState;
  total: number; // traces that match
  isAtLeast: boolean; // more may match
  selected: readonly string[];
  close: () => void;
}

export function Exports({ url, total, isAtLeast, selected, close }: ExportsProps): JSX.Element {
  const [busy, setBusy] = useState("");
  const sending = useSending();
  const downloadSelected = async (): Promise<void> => {
    const lines: string[] = [];
    for (const id of selected) {
      lines.push(`${await readTraceLine(id)}\n`);
      setBusy(`${count(lines.length)} of ${count(selected.length)} …`);
    }
    save(new Blob(lines, { type: "application/x-ndjson" }), "traces.ndjson");
    setBusy("");
  };
  return (
    <Dialog title="Export traces" close={close} wide>
      {selected.length > 0 && (
        <p class="actions">
          <Button disabled={sending.isBusy || selected.length > SELECTED_MAX} onClick={() => void sending.send(downloadSelected)}>
            Download the {plural(selected.length, "selected trace")} as NDJSON
          </Button>
          <span role="status">{busy}</span>
          {selected.length > SELECTED_MAX && <span class="hint">At most {SELECTED_MAX} one by one. “Select all” and filters take any number: an export of them is below.</span>}
        </p>
      )}
      <Failed of={sending} />
      <ExportForm url={url} total={total} isAtLeast={isAtLeast} />
      <ExportList />
    </Dialog>
  );
}

/** `total` is the number of traces that match, if it is known. */
export function ExportForm({ url, total, isAtLeast }: { url: UrlState; total: number | null; isAtLeast: boolean }): JSX.Element {
  const [format, setFormat] = useState("ndjson");
  const [rows, setRows] = useState("traces");
  const sending = useSending();
  const key = useRef(crypto.randomUUID());
  const shown = chips(url.params, duration).map((one) => one.label);
  const what = total === null ? "all traces" : tracesText(total, isAtLeast);
  const start = async (): Promise<void> => {
    const body = { format, rows: format === "ndjson" ? "traces" : rows, filters: filterBody(url.params, Date.now()) };
    await request("POST", "traces/exports", { body, headers: { "Idempotency-Key": key.current } });
    key.current = crypto.randomUUID();
    announce("Started the export");
    await invalidate("traces/exports");
  };
  return (
    <Form send={() => sending.send(start)}>
      {total !== null && (
        <p>
          {shown.length === 0 && !url.params.get("period") ? "All" : "The"} {what} that match now
          {shown.length > 0 && `: ${shown.join(", ")}`}.
        </p>
      )}
      <div class="fields">
        <label>
          Format
          <Select value={format} choose={setFormat} options={[["ndjson", "NDJSON, with spans and scores"], ["csv", "CSV"], ["parquet", "Parquet"]]} />
        </label>
        <label>
          Rows
          <Select disabled={format === "ndjson"} value={format === "ndjson" ? "traces" : rows} choose={setRows} options={[["traces", "Traces"], ["spans", "Spans"]]} />
        </label>
      </div>
      <p class="actions">
        <Button type="submit" class="main" disabled={sending.isBusy || total === 0}>
          Export {what}
        </Button>
      </p>
      <Failed of={sending} />
    </Form>
  );
}

/** `level` continues the headings around it. */
export function ExportList({ level: Heading = "h3" }: { level?: "h2" | "h3" }): JSX.Element {
  const sending = useSending();
  const list = useRead<ExportResponse[]>("traces/exports", {}, { pollMs: POLL_MS });
  return (
    <section aria-label="Exports of this project" class="exports">
      <Heading>Exports of this project</Heading>
      <Failed of={list} />
      {list.isPending && <Loading what="exports" />}
      {list.data?.length === 0 && <p class="hint">None yet.</p>}
      <ul>
        {list.data?.map((one) => (
          <ExportItem key={one.id} one={one} attempt={sending.send} />
        ))}
      </ul>
      <Failed of={sending} />
    </section>
  );
}

function ExportItem({ one, attempt }: { one: ExportResponse; attempt: Sending["send"] }): JSX.Element {
  const path = `traces/exports/${one.id}`;
  const isRunning = one.status === "PENDING" || one.status === "RUNNING";
  /** By a link that is good once: the file doesn't go through the memory of the page. */
  const download = async (): Promise<void> => {
    const { url } = await request<DownloadTicketResponse>("POST", `${path}/ticket`);
    follow(address(url));
  };
  const remove = async (): Promise<void> => {
    await request("DELETE", path);
    await invalidate("traces/exports");
  };
  return (
    <li>
      <strong>
        {one.format} of {one.rows}
      </strong>
      <span title={fullInstant(one.created_at)}>{ago(one.created_at)}</span>
      {isRunning && (
        <>
          <progress aria-label="Progress" value={one.traces_done} max={one.traces_total ?? 1} />
          <span>
            {count(one.traces_done)} of {count(one.traces_total)}
          </span>
        </>
      )}
      {/* A completed export has a message if its file is incomplete. */}
      {(one.status === "FAILED" || one.error_message !== null) && <span class="bad-text">{one.error_message ?? "failed"}</span>}
      {one.status === "COMPLETED" && (
        <>
          <span>
            {plural(one.row_count, "row")}, {bytes(one.size)}
          </span>
          <Button onClick={() => void attempt(download)}>Download</Button>
          <Button class="link" onClick={() => copyCurl(`${path}/download`)}>Copy as curl</Button>
          {one.sha256 && <Copy text={one.sha256} label="Copy the SHA-256" />}
          <small title={fullInstant(one.expires_at)}>kept until {fullInstant(one.expires_at).slice(0, 10)}</small>
        </>
      )}
      <Button class="link danger" disabled={!may("read")} onClick={() => void attempt(remove)}>
        {isRunning ? "Cancel" : "Delete"}
      </Button>
    </li>
  );
}
