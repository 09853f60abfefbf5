/** A labelled input of a form, with what the service said about its value. */
import type { ComponentChildren, JSX } from "preact";
import { useId, useState } from "preact/hooks";
import { Failure } from "../api/client.ts";

export interface Sending {
  isBusy: boolean;
  error: unknown; // what no field shows
  problemOf: (field: string) => string | undefined;
  /** Whether it worked. A second call while the first one runs does nothing. */
  send: (work: () => Promise<unknown>) => Promise<boolean>;
}

/** `fields` are the names that the form shows at an input; other problems are left in `error`. */
export function useSending(fields: readonly string[] = []): Sending {
  const [isBusy, setBusy] = useState(false);
  const [failed, setFailed] = useState<unknown>(null);
  const problems = failed instanceof Failure ? failed.fields : [];
  const problemOf = (field: string): string | undefined => problems.find((one) => one.field === field || one.field === `body.${field}`)?.message;
  const isShown = problems.length > 0 && problems.every((one) => fields.some((field) => one.field === field || one.field === `body.${field}`));
  const send = async (work: () => Promise<unknown>): Promise<boolean> => {
    if (isBusy) return false;
    setBusy(true);
    setFailed(null);
    try {
      await work();
      return true;
    } catch (reason) {
      setFailed(reason);
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { isBusy, error: isShown ? null : failed, problemOf, send };
}

/** `children` gets the attributes of the input: `{(own) => <input {...own} … />}`. */
export function Field(props: {
  label: string;
  hint?: string;
  problem?: string | undefined;
  children: (own: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => ComponentChildren;
}): JSX.Element {
  const id = useId();
  const { label, hint, problem } = props;
  const about = `${id}-about`;
  const own = { id, ...(hint || problem ? { "aria-describedby": about } : {}), ...(problem ? { "aria-invalid": true } : {}) };
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {props.children(own)}
      {(hint || problem) && (
        <small id={about} class={problem ? "problem" : "hint"}>
          {problem ?? hint}
        </small>
      )}
    </div>
  );
}
