/** Imports an export: the file is read in parts and sent in batches, each line by itself. */
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { Failure, request } from "../../api/client.ts";
import { invalidate } from "../../api/queries.ts";
import { may, scopeHint } from "../../api/session.ts";
import type { ImportResponse } from "../../api/types.d.ts";
import { bytes, count, plural } from "../../lib/format.ts";
import { batchesOf } from "../../lib/import-lines.ts";
import { announce, Button, Failed, Form } from "../../ui/basics.tsx";
import { Field } from "../../ui/Field.tsx";
import { Head } from "../../ui/Head.tsx";

const REFUSED_SHOWN = 100;
const WAITS_MAX = 10; // of one batch
const WAIT_S = 2;

interface Progress {
  lines: number;
  stored: number;
  unchanged: number;
  refused: { line: number; why: string }[];
  refusedCount: number;
}

const NOTHING: Progress = { lines: 0, stored: 0, unchanged: 0, refused: [], refusedCount: 0 };

export function Imports(): JSX.Element {
  const [file, setFile] = useState<File | null>(null);
  const [done, setDone] = useState<Progress | null>(null);
  const [state, setState] = useState<"" | "running" | "complete" | "incomplete">("");
  const [error, setError] = useState<unknown>(null);
  const stop = useRef<AbortController | null>(null);
  const why = may("ingest") && may("evaluate") ? undefined : scopeHint("ingest", "evaluate");
  const run = async (chosen: File): Promise<void> => {
    const own = (stop.current = new AbortController());
    const file = { isComplete: false, lines: 0 };
    let now = NOTHING;
    setError(null);
    setDone(now);
    setState("running");
    try {
      for await (const batch of batchesOf(textOf(chosen), file)) {
        const answer = await sent(batch.body, own.signal);
        const refused = answer.rejected.map((one) => ({
          line: batch.first + one.index,
          why: one.errors.map(({ field, message }) => `${field} ${message}`).join("; "),
        }));
        now = {
          lines: file.lines,
          stored: now.stored + answer.stored,
          unchanged: now.unchanged + answer.unchanged,
          refused: [...now.refused, ...refused].slice(0, REFUSED_SHOWN),
          refusedCount: now.refusedCount + refused.length,
        };
        setDone(now);
      }
      setState(file.isComplete ? "complete" : "incomplete");
      announce(`Imported ${plural(now.stored, "trace")}`);
      await Promise.all([invalidate("traces"), invalidate("sessions")]);
    } catch (reason) {
      setState("");
      if (!own.signal.aborted) setError(reason);
    }
  };
  return (
    <Form class="narrow" send={() => {
        if (file !== null) void run(file);
      }}>
      <Field label="File" hint="NDJSON of an export, also compressed with gzip. What is there already isn’t written twice">
        {(own) => <input {...own} type="file" accept=".ndjson,.gz,.jsonl" disabled={why !== undefined} title={why} onChange={(event) => setFile(event.currentTarget.files?.[0] ?? null)} />}
      </Field>
      <p class="actions">
        <Button type="submit" class="main" disabled={file === null || state === "running" || why !== undefined} title={why}>
          Import{file && ` ${bytes(file.size)}`}
        </Button>
        {state === "running" && <Button onClick={() => stop.current?.abort()}>Stop</Button>}
      </p>
      {done && (
        <p role="status">
          {state === "running" ? "Importing: " : ""}
          {plural(done.lines, "line")}, {count(done.stored)} stored, {count(done.unchanged)} unchanged, {count(done.refusedCount)} refused.
          {state === "complete" && " The file is complete."}
          {state === "incomplete" && " The file lacks its last line: it is not complete."}
        </p>
      )}
      {done && done.refused.length > 0 && (
        <table class="plain-table" aria-label="Refused lines">
          <Head of={["Line", "Why"]} />
          <tbody>{done.refused.map((one) => <tr key={one.line}><td>{count(one.line)}</td><td>{one.why}</td></tr>)}</tbody>
        </table>
      )}
      {done && done.refusedCount > REFUSED_SHOWN && <p class="hint">The first {REFUSED_SHOWN} of {count(done.refusedCount)}.</p>}
      <Failed of={{ error }} />
    </Form>
  );
}

async function* textOf(file: File): AsyncGenerator<string> {
  const unpacked: ReadableStream<BufferSource> = file.name.endsWith(".gz") ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file.stream();
  const reader = unpacked.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

/** Waits as long as the service asks; if all lines of a batch are refused, that is its answer. */
async function sent(text: string, signal: AbortSignal): Promise<Pick<ImportResponse, "stored" | "unchanged" | "rejected">> {
  for (let waits = 0; ; waits++) {
    try {
      return await request<ImportResponse>("POST", "traces/import", { text, signal });
    } catch (reason) {
      signal.throwIfAborted();
      if (!(reason instanceof Failure)) throw reason;
      const rejected = reason.status === 422 ? refusedLines(reason) : [];
      if (rejected.length > 0) return { stored: 0, unchanged: 0, rejected };
      if (!reason.isTemporary || waits >= WAITS_MAX) throw reason;
      await new Promise((resolve) => setTimeout(resolve, (reason.retryAfterS ?? WAIT_S) * 1000));
    }
  }
}

function refusedLines(failure: Failure): ImportResponse["rejected"] {
  const byLine = new Map<number, { field: string; message: string }[]>();
  for (const { field, message } of failure.fields) {
    const place = /^(?:body\.)?traces\.(\d+)\.?(.*)$/.exec(field);
    if (place === null) continue;
    const index = Number(place[1]);
    byLine.set(index, [...(byLine.get(index) ?? []), { field: place[2] ?? "", message }]);
  }
  return [...byLine].map(([index, errors]) => ({ index, errors }));
}
