/** A person's score of a trace or of one of its spans. */
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate } from "../../api/queries.ts";
import { may, scopeHint } from "../../api/session.ts";
import { useCommands } from "../../lib/keys.ts";
import { announce, Button, Dialog, Failed, Form, valueTo, Select } from "../../ui/basics.tsx";
import { useSending } from "../../ui/Field.tsx";

const TYPES = [
  { type: "NUMERIC", label: "A number from 0 to 1" },
  { type: "BOOLEAN", label: "Yes or no" },
  { type: "CATEGORICAL", label: "A word" },
] as const;
type DataType = (typeof TYPES)[number]["type"];

export function AddScore({ trace, span }: { trace: string; span: string | null }): JSX.Element {
  const [asking, ask] = useState(false);
  useCommands([{ keys: "s", label: span === null ? "Score the trace" : "Score the span", group: "Trace", run: () => (may("ingest") ? ask(true) : announce(scopeHint("ingest"))) }]);
  return (
    <>
      <Button disabled={!may("ingest")} title={scopeHint("ingest")} onClick={() => ask(true)}>
        Score …
      </Button>
      {asking && <Asked trace={trace} span={span} close={() => ask(false)} />}
    </>
  );
}

function Asked({ trace, span, close }: { trace: string; span: string | null; close: () => void }): JSX.Element {
  const [name, setName] = useState("");
  const [type, setType] = useState<DataType>("NUMERIC");
  const [value, setValue] = useState("");
  const [reason, setReason] = useState("");
  const sending = useSending();
  const body = { trace_id: trace, name: name.trim(), value, data_type: type, ...(span === null ? {} : { span_id: span }), ...(reason.trim() ? { reason } : {}) };
  const key = useMemo(() => crypto.randomUUID(), [JSON.stringify(body)]); // pressing twice makes one score
  const save = async (): Promise<void> => {
    await request("POST", "evaluations/trace-scores", { body, headers: { "Idempotency-Key": key } });
    announce("Saved the score");
    close();
    await Promise.all([invalidate("evaluations/trace-scores"), invalidate("traces")]);
  };
  return (
    <Dialog title={span === null ? "Score the trace" : "Score the span"} close={close}>
      <Form send={() => sending.send(save)}>
        <label>
          Name
          <input autoFocus required maxLength={255} placeholder="helpful" value={name} onInput={valueTo(setName)} />
        </label>
        <div class="fields">
          <label>
            Kind
            <Select
              value={type}
              choose={(chosen) => {
                setType(chosen as DataType);
                setValue(chosen === "BOOLEAN" ? "true" : "");
              }}
              options={TYPES.map((one) => [one.type, one.label])}
            />
          </label>
          <label>
            Value
            {type === "BOOLEAN" ? (
              <Select value={value} choose={setValue} options={[["true", "yes"], ["false", "no"]]} />
            ) : (
              <input
                required
                maxLength={255}
                {...(type === "NUMERIC" ? { type: "number", min: "0", max: "1", step: "any" } : {})}
                value={value}
                onInput={valueTo(setValue)}
              />
            )}
          </label>
        </div>
        <label>
          Reason
          <input placeholder="none" value={reason} onInput={valueTo(setReason)} />
        </label>
        <p class="actions">
          <Button type="submit" class="main" disabled={sending.isBusy}>Save</Button>
        </p>
      </Form>
      <Failed of={sending} />
    </Dialog>
  );
}
