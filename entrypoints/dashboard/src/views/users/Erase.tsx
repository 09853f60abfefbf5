/** Erases a user: two steps, then the receipt, and a check that nothing is left. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, project, session } from "../../api/session.ts";
import type { ErasureCheckResponse, ErasureResponse, UserSummary } from "../../api/types.d.ts";
import { ago, count, fullInstant, plural } from "../../lib/format.ts";
import { announce, Button, copy, Dialog, Empty, Loading, Failed, Form, valueTo } from "../../ui/basics.tsx";

const POLL_MS = 3000;

/** Why this session may not erase anybody; null if it may. */
export function erasureProblem(): string | null {
  const now = session.value;
  if (now.state !== "in") return "Sign in first";
  if (!may("ingest") || !may("read")) return "The key needs the scopes ingest and read";
  return now.isPerson && !project.value?.canManage ? "Only owners and administrators erase users" : null;
}

export function Erase({ user, close }: { user: UserSummary; close: () => void }): JSX.Element {
  const [step, setStep] = useState<1 | 2>(1);
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [receipt, setReceipt] = useState<ErasureResponse | null>(null);
  const id = user.user_id;
  const erase = async (): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      setReceipt(await request<ErasureResponse>("POST", "erasures", { body: { user_id: id } }));
      announce("Erased the user");
      await Promise.all([invalidate("traces"), invalidate("sessions"), invalidate("erasures")]);
    } catch (reason) {
      setError(reason);
    }
    setBusy(false);
  };
  if (receipt !== null) return <Receipt first={receipt} user={id} close={close} />;
  return (
    <Dialog title={`Erase ${id}?`} close={close}>
      <p>
        This deletes {plural(user.trace_count, "trace")} of the user, with all spans, payloads, scores and cached verdicts, and all scores of the
        sessions that lose a trace. It can’t be undone. Files that were downloaded before stay where they are.
      </p>
      <p>You get a receipt, which has a salted hash in the place of the id.</p>
      {step === 1 ? (
        <p class="actions">
          <Button autoFocus onClick={close}>Cancel</Button>
          <Button class="danger" onClick={() => setStep(2)}>Erase …</Button>
        </p>
      ) : (
        <Form send={() => {
            if (typed === id) void erase();
          }}>
          <label>
            <span>
              To confirm, type the id of the user: <code>{id}</code>
            </span>
            <input autoFocus autocomplete="off" spellcheck={false} value={typed} onInput={valueTo(setTyped)} />
          </label>
          <p class="actions">
            <Button onClick={close}>Cancel</Button>
            <Button type="submit" class="danger" disabled={typed !== id || busy}>
              Erase {plural(user.trace_count, "trace")} of this user
            </Button>
          </p>
        </Form>
      )}
      <Failed of={{ error }} />
    </Dialog>
  );
}

/** `user` is known only right after the erasure: a receipt has a hash of it. */
function Receipt({ first, user, close }: { first: ErasureResponse; user: string; close: () => void }): JSX.Element {
  const [check, setCheck] = useState<ErasureCheckResponse | null>(null);
  const [error, setError] = useState<unknown>(null);
  const answer = useRead<ErasureResponse>(`erasures/${first.id}`, {}, { initial: first, pollMs: first.state === "REMOVED" ? false : POLL_MS });
  const receipt = answer.data ?? first;
  const verify = async (): Promise<void> => {
    setError(null);
    try {
      setCheck(await request<ErasureCheckResponse>("POST", `erasures/${first.id}/check`, { body: { user_id: user } }));
    } catch (reason) {
      setError(reason);
    }
  };
  return (
    <Dialog title="Receipt of the erasure" close={close}>
      <ReceiptFacts receipt={receipt} />
      {receipt.state === "REMOVING" && <p role="status">The rest is being deleted, and can no longer be read.</p>}
      {check !== null && <CheckResult found={check} />}
      <p class="actions">
        <Button class="main" onClick={() => void copy(JSON.stringify(receipt, null, 1), "Copied the receipt")}>Copy the receipt</Button>
        <Button onClick={() => void verify()}>Check that nothing is left</Button>
        <Button onClick={close}>Close</Button>
      </p>
      <Failed of={{ error }} />
    </Dialog>
  );
}

export function CheckResult({ found }: { found: ErasureCheckResponse }): JSX.Element {
  return (
    <p role="status" class={found.is_erased ? "" : "problem"}>
      {found.is_erased ? "Checked: nothing is left." : `Found: ${rowsOf(found.found) || "nothing, but the erasure isn’t finished"}.`}
      {found.traces_since > 0 && ` ${plural(found.traces_since, "trace")} came since.`}
    </p>
  );
}

function rowsOf(rows: Record<string, number>): string {
  return Object.entries(rows)
    .filter(([, number]) => number > 0)
    .map(([table, number]) => `${count(number)} ${table.replace(/_/g, " ")}`)
    .join(", ");
}

export function ReceiptFacts({ receipt }: { receipt: ErasureResponse }): JSX.Element {
  const facts = [
    ["Erasure", receipt.id],
    ["State", receipt.state.toLowerCase()],
    ["Requested", `${fullInstant(receipt.requested_at)} by ${receipt.requested_by.name || "an unknown person"}`],
    ["Removed", receipt.removed_at === null ? "not yet" : fullInstant(receipt.removed_at)],
    ["Rows", rowsOf(receipt.rows) || "none"],
    ["Hash of the id", receipt.owner_hash],
    ["SHA-256 of the receipt", receipt.receipt_sha256 ?? "not yet"],
  ] as const;
  return (
    <div class="details">
      <dl>
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

interface Page {
  items: ErasureResponse[];
  total: number;
}

const RECEIPTS_SHOWN = 50;

export function Receipts({ close }: { close: () => void }): JSX.Element {
  const list = useRead<Page>("erasures", { limit: RECEIPTS_SHOWN });
  return (
    <Dialog title="Receipts of erasures" close={close} wide>
      <Failed of={list} />
      {list.isPending && <Loading what="receipts" />}
      {list.data?.items.length === 0 && <Empty title="No erasure yet" />}
      {list.data?.items.map((one) => (
        <details key={one.id}>
          <summary>
            {one.kind}, {ago(one.requested_at)}, {one.state.toLowerCase()}
          </summary>
          <ReceiptFacts receipt={one} />
        </details>
      ))}
      {list.data && list.data.total > RECEIPTS_SHOWN && (
        <p class="hint">
          The newest {RECEIPTS_SHOWN} of {count(list.data.total)}: the others are in GET /erasures.
        </p>
      )}
    </Dialog>
  );
}
