/** Tries what the form says on one trace, before it is saved. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { useRead } from "../../api/queries.ts";
import { may, scopeHint } from "../../api/session.ts";
import type { DryRunResponse } from "../../api/types.d.ts";
import { ago, cost, NONE } from "../../lib/format.ts";
import { Button, Loading, Failed, Form, valueTo } from "../../ui/basics.tsx";
import { Reason } from "../../ui/LongText.tsx";
import { Link } from "../../ui/Link.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { definitionText } from "../../lib/metric-definition.ts";
import type { Draft } from "./MetricForm.tsx";

const RECENT = 20; // traces that are offered

export function DryRun({ draft }: { draft: Draft }): JSX.Element {
  const recent = useRead<{ items: { trace_id: string; name: string; started_at: string }[] }>("traces", { limit: RECENT });
  const [typed, setTyped] = useState("");
  const [model, setModel] = useState("");
  const [result, setResult] = useState<{ of: string; answer: DryRunResponse } | null>(null);
  const sending = useSending(["trace_id", "model"]);
  const trace = typed || (recent.data?.items[0]?.trace_id ?? "");
  const now = definitionText([draft, trace, model]);
  const attempt = (): Promise<boolean> =>
    sending.send(async () => {
      const { kind, threshold, definition } = draft;
      const body = { kind, threshold, definition, trace_id: trace, ...(model ? { model } : {}) };
      setResult({ of: now, answer: await request<DryRunResponse>("POST", "evaluations/custom-metrics/dry-run", { body }) });
    });
  const allowed = may("evaluate") && may("read");
  return (
    <section aria-labelledby="dry-run" class="dry-run">
      <h2 id="dry-run">Try it</h2>
      <Form class="fields" send={attempt}>
        <Field label="Trace" hint="An id, or one of the last" problem={sending.problemOf("trace_id")}>
          {(own) => (
            <>
              <input {...own} class="long" list="recent-traces" spellcheck={false} required placeholder="the id of a trace" value={trace} onInput={(event) => setTyped(event.currentTarget.value.trim())} />
              <datalist id="recent-traces">
                {recent.data?.items.map((one) => <option key={one.trace_id} value={one.trace_id}>{one.name}, {ago(one.started_at)}</option>)}
              </datalist>
            </>
          )}
        </Field>
        {draft.kind === "judge" && (
          <Field label="Judge model" problem={sending.problemOf("model")}>
            {(own) => <input {...own} placeholder="the service’s default" value={model} onInput={valueTo(setModel)} />}
          </Field>
        )}
        <p class="actions">
          <Button type="submit" disabled={sending.isBusy || !allowed} title={scopeHint("evaluate", "read")}>Try it on this trace</Button>
        </p>
      </Form>
      {sending.isBusy && <Loading what="the result" />}
      <Failed of={sending} />
      {result && sending.error === null && (
        <div role="status">
          {result.of !== now && <p class="hint">This is the result of what the form said before.</p>}
          <Result answer={result.answer} />
        </div>
      )}
    </section>
  );
}

function Result({ answer }: { answer: DryRunResponse }): JSX.Element {
  const { outcome } = answer;
  return (
    <>
      {outcome !== null ? (
        <>
          <p>
            <strong class={`o-${outcome.outcome}`}>{outcome.value ?? `${NONE} ${outcome.outcome}`}</strong> <Reason text={outcome.reason} /> <Link href={`${projectPath("traces")}/${answer.trace_id}`}>the trace</Link>
          </p>
          <details>
            <summary>Details</summary>
            <pre class="raw" role="group" tabIndex={0} aria-label="Details">{JSON.stringify(outcome.metadata, null, 2)}</pre>
          </details>
        </>
      ) : (
        <p>
          {answer.model} would be asked this. One request costs at most {answer.estimated_cost_usd === null ? "an unknown amount: the model has no price" : cost(answer.estimated_cost_usd)}. A run asks it.
        </p>
      )}
      <Prompts stages={answer.prompt} />
    </>
  );
}

/** What a judge reads, word by word. */
export function Prompts({ stages }: { stages: readonly { stage: string; prompt: string }[] }): JSX.Element {
  return (
    <>
      {stages.map((one) => (
        <section key={one.stage}>
          <h3>Prompt: {one.stage}</h3>
          <pre class="raw prompt" role="group" tabIndex={0} aria-label={`Prompt: ${one.stage}`}>{one.prompt}</pre>
        </section>
      ))}
    </>
  );
}
