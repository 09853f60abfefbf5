/** A custom metric: a form for its kind next to the JSON that it makes. Either can be edited. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate } from "../../api/queries.ts";
import { may, projectId, scopeHint } from "../../api/session.ts";
import type { CustomMetricResponse } from "../../api/types.d.ts";
import { announce, Button, Failed, Form, valueTo, Select } from "../../ui/basics.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { useDraft } from "../../ui/useDraft.ts";
import { ANCHORS, definitionText, EMPTY, flatRule, KINDS, MEASURES, OPERATORS, PARTS, typedValue, valueText, withParameter, type Condition, type Definition, type Kind, type Parameter } from "../../lib/metric-definition.ts";
import { DryRun } from "./DryRun.tsx";

const CUSTOM = "evaluations/custom-metrics";
const FIELDS = ["name", "description", "threshold"];

export interface Draft {
  kind: Kind;
  description: string;
  threshold: number;
  definition: Definition;
}

export function NewMetric({ kind, choose, done, cancel }: { kind: Kind; choose: (kind: Kind) => void; done: (name: string) => void; cancel: () => void }): JSX.Element {
  const [{ name, drafts }, put, forget] = useDraft(`${projectId.value}.metric`, { name: "", drafts: {} as Partial<Record<Kind, Draft>> });
  const draft = drafts[kind] ?? { kind, description: "", threshold: 0.5, definition: EMPTY[kind] };
  const sending = useSending(FIELDS);
  const save = async (): Promise<void> => {
    const isSaved = await sending.send(() => request("POST", CUSTOM, { body: { name, ...draft } }));
    if (!isSaved) return;
    forget();
    announce(`Made the metric ${name}`);
    await invalidate("evaluations");
    done(name);
  };
  return (
    <div class="page">
      <h1>New metric</h1>
      <div role="radiogroup" aria-label="Kind" class="kinds">
        {KINDS.map((one) => (
          <label key={one.kind} class="check">
            <input type="radio" name="kind" checked={one.kind === kind} onChange={() => choose(one.kind)} />
            <span>{one.label} <small>{one.hint}</small></span>
          </label>
        ))}
      </div>
      <Form class="metric-form" send={save}>
        <Field label="Name" hint="Small letters, digits and underscores. It never changes." problem={sending.problemOf("name")}>
          {(own) => <input {...own} required pattern="[a-z][a-z0-9_]{1,62}" placeholder="polite_answer" value={name} onInput={valueTo((name) => put({ name }))} />}
        </Field>
        <DraftFields draft={draft} change={(next) => put({ drafts: { ...drafts, [kind]: next } })} problemOf={sending.problemOf} />
        <p class="actions">
          <Button type="submit" class="main" disabled={sending.isBusy || !may("evaluate")} title={scopeHint("evaluate")}>Make the metric</Button>
          <Button onClick={() => { forget(); cancel(); }}>Cancel</Button>
        </p>
        <Failed of={sending} />
      </Form>
      <DryRun draft={draft} />
    </div>
  );
}

/** The next revision of a metric. */
export function ReviseMetric({ metric }: { metric: CustomMetricResponse }): JSX.Element {
  const stored: Draft = { kind: metric.kind, description: metric.description, threshold: metric.threshold, definition: metric.definition };
  const [draft, put, forget] = useDraft(`${projectId.value}.metric.${metric.name}.${metric.revision}`, stored);
  const sending = useSending(FIELDS);
  const isSame = definitionText(draft) === definitionText(stored);
  const save = async (): Promise<void> => {
    const { kind: _, ...body } = draft;
    if (!(await sending.send(() => request("PUT", `${CUSTOM}/${metric.name}`, { body })))) return;
    forget();
    announce("Saved the next revision");
    await invalidate("evaluations");
  };
  return (
    <>
      <Form class="metric-form" aria-label="Definition" send={save}>
        <DraftFields draft={draft} change={put} problemOf={sending.problemOf} />
        <p class="actions">
          <Button type="submit" class="main" disabled={sending.isBusy || isSame || !may("evaluate")} title={isSame ? "Nothing has changed" : scopeHint("evaluate")}>
            Save revision {metric.revision + 1}
          </Button>
          {!isSame && <Button onClick={() => put(stored)}>Undo the changes</Button>}
          <span class="hint">Runs that have started keep the revision that they began with.</span>
        </p>
        <Failed of={sending} />
      </Form>
      <DryRun draft={draft} />
    </>
  );
}

interface Shared {
  draft: Draft;
  change: (next: Draft) => void;
}

function DraftFields({ draft, change, problemOf }: Shared & { problemOf: (field: string) => string | undefined }): JSX.Element {
  const put = (definition: Definition): void => change({ ...draft, definition });
  return (
    <>
      <div class="fields">
        <Field label="Description" problem={problemOf("description")}>
          {(own) => <input {...own} class="long" required value={draft.description} onInput={(event) => change({ ...draft, description: event.currentTarget.value })} />}
        </Field>
        <Field label="Threshold" hint="From here on a score passes" problem={problemOf("threshold")}>
          {(own) => <input {...own} type="number" min="0" max="1" step="any" required value={draft.threshold} onInput={(event) => change({ ...draft, threshold: Number(event.currentTarget.value) })} />}
        </Field>
      </div>
      <div class="form-and-json">
        <div class="of-kind">
          {draft.kind === "judge" && <JudgeFields definition={draft.definition} put={put} />}
          {draft.kind === "rule" && <RuleFields definition={draft.definition} put={put} />}
          {draft.kind === "measured" && <MeasureFields definition={draft.definition} put={put} />}
        </div>
        <Json definition={draft.definition} put={put} />
      </div>
    </>
  );
}

interface OfKind {
  definition: Definition;
  put: (definition: Definition) => void;
}

/** The JSON, which is edited as text and taken over whenever it is an object. */
function Json({ definition, put }: OfKind): JSX.Element {
  const made = definitionText(definition);
  const [typed, setTyped] = useState<string | null>(null);
  const isTyped = typed !== null && !sameJson(typed, made);
  return (
    <Field label="Definition as JSON" problem={isTyped ? "This isn't a JSON object yet: the form shows the last one that was." : undefined}>
      {(own) => (
        <textarea
          {...own}
          rows={16}
          spellcheck={false}
          value={isTyped || (typed !== null && sameJson(typed, made)) ? typed : made}
          onInput={(event) => {
            const text = event.currentTarget.value;
            setTyped(text);
            const value = typedValue(text);
            if (typeof value === "object" && value !== null && !Array.isArray(value)) put(value as Definition);
          }}
          onBlur={() => !isTyped && setTyped(null)}
        />
      )}
    </Field>
  );
}

function sameJson(text: string, made: string): boolean {
  return definitionText(typedValue(text)) === made;
}

function JudgeFields({ definition, put }: OfKind): JSX.Element {
  const form = definition.form === "checklist" ? "checklist" : "scale";
  const anchors = Array.isArray(definition.anchors) ? (definition.anchors as string[]) : [];
  const set = (name: string, value: unknown): void => {
    const next = { ...definition, [name]: value };
    if (value === "" || value === false) delete next[name];
    put(next);
  };
  return (
    <>
      <Field label="Criterion" hint="One question about the trace">
        {(own) => <textarea {...own} rows={3} required maxLength={2000} value={String(definition.criterion ?? "")} onInput={(event) => put({ ...definition, criterion: event.currentTarget.value })} />}
      </Field>
      <Field label="Form">
        {(own) => (
          <select
            {...own}
            value={form}
            onChange={(event) => {
              const chosen = event.currentTarget.value as keyof typeof ANCHORS;
              const next: Definition = { ...definition, form: chosen, anchors: Array.from({ length: ANCHORS[chosen] }, (_, at) => anchors[at] ?? "") };
              if (chosen === "scale") delete next.form;
              put(next);
            }}
          >
            <option value="scale">One label from 0 to 5 for the run</option>
            <option value="checklist">Yes or no for each tool call</option>
          </select>
        )}
      </Field>
      <fieldset>
        <legend>What each label means</legend>
        <ol class="anchors" start={0}>
          {Array.from({ length: ANCHORS[form] }, (_, at) => (
            <li key={at}>
              <label>
                <span>{form === "scale" ? at : at === 0 ? "no" : "yes"}</span>
                <input
                  required
                  maxLength={500}
                  value={anchors[at] ?? ""}
                  onInput={(event) => put({ ...definition, anchors: Array.from({ length: ANCHORS[form] }, (_, index) => (index === at ? event.currentTarget.value : (anchors[index] ?? ""))) })}
                />
              </label>
            </li>
          ))}
        </ol>
      </fieldset>
      <Field label="Judge model" hint="Else the model of the run">
        {(own) => <input {...own} placeholder="that of the run" value={String(definition.model ?? "")} onInput={(event) => set("model", event.currentTarget.value)} />}
      </Field>
      <Field label="Template" hint={`What the judge sees; else everything. Parts, each on its own line: ${PARTS.map((one) => `{{${one}}}`).join(" ")}`}>
        {(own) => <textarea {...own} rows={4} spellcheck={false} value={String(definition.template ?? "")} onInput={(event) => set("template", event.currentTarget.value)} />}
      </Field>
      <label class="check">
        <input type="checkbox" checked={definition.sees_reasoning === true} onChange={(event) => set("sees_reasoning", event.currentTarget.checked)} /> The judge sees the agent’s own thoughts
      </label>
    </>
  );
}

const JOIN_WORDS = { all: "all of these hold", any: "any of these holds", none: "none of these holds" } as const;

function RuleFields({ definition, put }: OfKind): JSX.Element {
  const flat = flatRule(definition);
  if (flat === null) return <p class="hint">This rule has conditions within conditions: edit it as JSON.</p>;
  const { join, conditions } = flat;
  const set = (next: Condition[], how = join): void => put({ [how]: next });
  const edit = (at: number, change: Partial<Condition>): void => set(conditions.map((one, index) => (index === at ? { ...one, ...change } : one)));
  return (
    <>
      <Field label="The score is 1 if">
        {(own) => (
          <Select {...own} value={join} choose={(value) => set(conditions, value as typeof join)} options={Object.entries(JOIN_WORDS)} />
        )}
      </Field>
      {conditions.map((one, at) => (
        <fieldset key={at}>
          <legend>Condition {at + 1}</legend>
          <div class="fields">
            <Field label="Path">
              {(own) => <input {...own} required list="rule-paths" spellcheck={false} value={one.path} onInput={(event) => edit(at, { path: event.currentTarget.value })} />}
            </Field>
            <Field label="Operator">
              {(own) => (
                <Select {...own} value={one.op} choose={(value) => edit(at, { op: value })} options={OPERATORS} />
              )}
            </Field>
            <Field label="Value" hint="JSON, or a text">
              {(own) => (
                <input
                  {...own}
                  required={one.op !== "exists"}
                  placeholder={one.op === "exists" ? "true" : ""}
                  value={valueText(one.value)}
                  onInput={(event) => {
                    const { value: _, ...rest } = one;
                    const text = event.currentTarget.value;
                    set(conditions.map((other, index) => (index === at ? (text === "" ? rest : { ...one, value: typedValue(text) }) : other)));
                  }}
                />
              )}
            </Field>
            {one.path.startsWith("spans") && (
              <Field label="Holds for">
                {(own) => (
                  <Select {...own} value={one.over ?? "any"} choose={(value) => edit(at, { over: value })} options={[["any", "any span"], ["all", "all spans"]]} />
                )}
              </Field>
            )}
            {conditions.length > 1 && <Button class="quiet" icon="close" label={`Drop condition ${at + 1}`} onClick={() => set(conditions.filter((_, index) => index !== at))} />}
          </div>
        </fieldset>
      ))}
      <datalist id="rule-paths">
        {["answer", "request", "trace.name", "trace.status", "trace.tags", "trace.metadata.key", "trace.duration_ms", "trace.tokens", "trace.cost", "spans[kind=TOOL]", "spans[kind=TOOL].name", "spans[kind=TOOL].status", "spans[kind=LLM]"].map((one) => <option key={one} value={one} />)}
      </datalist>
      <p><Button icon="plus" onClick={() => set([...conditions, { path: "answer", op: "contains", value: "" }])}>Add a condition</Button></p>
    </>
  );
}

function MeasureFields({ definition, put }: OfKind): JSX.Element {
  const type = String(definition.type ?? "");
  const known = MEASURES[type];
  const given = (definition.parameters ?? {}) as Record<string, unknown>;
  return (
    <>
      <Field label="Measure">
        {(own) => (
          <Select {...own} value={type} choose={(value) => put({ type: value, ...(MEASURES[value]!.length > 0 ? { parameters: {} } : {}) })} options={[...(!known ? [type] : []), ...Object.keys(MEASURES)]} />
        )}
      </Field>
      <div class="fields">
        {(known ?? []).map((one) => (
          <Field key={one.name} label={`${one.name}${one.isOptional ? " (optional)" : ""}`} {...(one.hint ? { hint: one.hint } : {})}>
            {(own) => <ParameterInput own={own} parameter={one} value={given[one.name]} change={(text) => put(withParameter(definition, one, text))} />}
          </Field>
        ))}
      </div>
      {known?.length === 0 && <p class="hint">It has no parameters.</p>}
    </>
  );
}

function ParameterInput({ own, parameter, value, change }: { own: JSX.HTMLAttributes<HTMLElement>; parameter: Parameter; value: unknown; change: (text: string) => void }): JSX.Element {
  const { as, isOptional } = parameter;
  if (typeof as !== "string") {
    return (
      <Select {...(own as object)} required={!isOptional} value={String(value ?? "")} choose={change} options={[["", isOptional ? "not given" : "choose"], ...as]} />
    );
  }
  const text = as === "number" ? String(value ?? "") : as === "json" ? valueText(value) : String(value ?? "");
  return (
    <input
      {...(own as object)}
      {...(as === "number" ? { type: "number", min: "0", step: "any" } : {})}
      required={!isOptional}
      spellcheck={false}
      placeholder={as === "json" ? "JSON" : ""}
      value={text}
      onInput={valueTo(change)}
    />
  );
}
