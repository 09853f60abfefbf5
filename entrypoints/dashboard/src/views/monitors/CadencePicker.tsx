/** A cadence by choosing, or as cron; the service says when it comes next, or what is wrong. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { useRead } from "../../api/queries.ts";
import type { CadenceResponse } from "../../api/types.d.ts";
import { EVERY_HOURS, WEEKDAYS, cadenceWords, readCadence, writeCadence, type Cadence } from "../../lib/chart/cadence.ts";
import { Select } from "../../ui/basics.tsx";
import { Field } from "../../ui/Field.tsx";
import { useSettled } from "../../ui/useSettled.ts";
import { Times } from "./parts.tsx";

const KINDS: Record<Cadence["kind"], string> = {
  every_6h: "6 hours after the last slot",
  daily: "24 hours after the last slot",
  weekly: "7 days after the last slot",
  hours: "every few hours",
  day: "every day",
  workdays: "Monday to Friday",
  week: "every week",
  month: "every month",
  cron: "cron",
};

export function CadencePicker({ value, set, problem }: { value: string; set: (text: string) => void; problem?: string | undefined }): JSX.Element {
  // While cron is typed, it stays cron, also if the picker could say the same.
  const [isCron, setCron] = useState(() => readCadence(value).kind === "cron");
  const of: Cadence = isCron ? { kind: "cron", fields: value.replace(/^cron:/, "") } : readCadence(value);
  const clock = "hour" in of ? { hour: of.hour, minute: of.minute } : { hour: 6, minute: "minute" in of ? of.minute : 0 };
  const change = (next: Cadence): void => set(writeCadence(next));
  const start = (kind: Cadence["kind"]): Cadence => {
    if (kind === "hours") return { kind, every: 6, minute: clock.minute };
    if (kind === "week") return { kind, weekday: 1, ...clock };
    if (kind === "month") return { kind, day: 1, ...clock };
    if (kind === "day" || kind === "workdays") return { kind, ...clock };
    if (kind === "cron") return of;
    return { kind };
  };
  const choose = (kind: Cadence["kind"]): void => {
    setCron(kind === "cron");
    if (kind !== "cron") change(start(kind));
    else if (!value.startsWith("cron:")) set("cron:0 6 * * *");
  };
  const settled = useSettled(value);
  const next = useRead<CadenceResponse>("evaluations/monitors/cadence", { cadence: settled, count: 3 }, { keepPrevious: false });
  const wrong = problem ?? (next.isError && settled === value ? messageOf(next.error) : undefined);
  return (
    <fieldset class="cadence">
      <legend>When</legend>
      <div class="fields">
        <Field label="Runs">{(own) => (
          <Select {...own} value={of.kind} choose={(value) => choose(value as Cadence["kind"])} options={Object.entries(KINDS)} />
        )}</Field>
        {of.kind === "hours" && (
          <Field label="Hours">{(own) => (
            <Select {...own} value={String(of.every)} choose={(value) => change({ ...of, every: Number(value) })} options={EVERY_HOURS} />
          )}</Field>
        )}
        {of.kind === "week" && (
          <Field label="Day">{(own) => (
            <Select {...own} value={String(of.weekday)} choose={(value) => change({ ...of, weekday: Number(value) })} options={WEEKDAYS.map((one, day) => [day, one])} />
          )}</Field>
        )}
        {of.kind === "month" && (
          <Field label="Day of the month">{(own) => (
            <input {...own} type="number" min="1" max="31" value={of.day} onChange={(event) => event.currentTarget.validity.valid && change({ ...of, day: Number(event.currentTarget.value) })} />
          )}</Field>
        )}
        {"hour" in of && (
          <Field label="At, in UTC">{(own) => (
            <input {...own}
              type="time"
              required
              value={`${String(of.hour).padStart(2, "0")}:${String(of.minute).padStart(2, "0")}`}
              onChange={(event) => {
                const [hour, minute] = event.currentTarget.value.split(":").map(Number);
                if (hour !== undefined && minute !== undefined) change({ ...of, hour, minute });
              }}
            />
          )}</Field>
        )}
        {of.kind === "cron" && (
          <Field label="Minute, hour, day, month, weekday">{(own) => (
            <input {...own} value={of.fields} spellcheck={false} aria-invalid={wrong !== undefined} aria-describedby="cadence-next" onInput={(event) => set(`cron:${event.currentTarget.value}`)} />
          )}</Field>
        )}
      </div>
      <div id="cadence-next" aria-live="polite">
        {wrong !== undefined ? (
          <p class="problem">{wrong}</p>
        ) : (
          <>
            <p class="hint">
              {cadenceWords(value)} · <code>{value}</code>
            </p>
            {next.data && <Times of={next.data.runs_at} />}
          </>
        )}
      </div>
    </fieldset>
  );
}

function messageOf(error: unknown): string {
  const fields = (error as { fields?: readonly { message: string }[] }).fields ?? [];
  return fields[0]?.message ?? (error instanceof Error ? error.message : String(error));
}
