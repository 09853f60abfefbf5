/** What the list of runs, a run and the dialog share. */
import type { JSX } from "preact";
import { request } from "../../api/client.ts";
import { invalidate } from "../../api/queries.ts";
import { may, scopeHint } from "../../api/session.ts";
import type { EvalRunResponse } from "../../api/types.d.ts";
import { count } from "../../lib/format.ts";
import { Button, Failed } from "../../ui/basics.tsx";
import { useSending } from "../../ui/Field.tsx";

export const POLL_MS = 3000;

type RunStatus = EvalRunResponse["status"];

export function isOver(status: RunStatus): boolean {
  return status !== "PENDING" && status !== "RUNNING";
}

const SHAPES: Record<RunStatus, string> = { PENDING: "○", RUNNING: "◐", COMPLETED: "✓", FAILED: "✕", CANCELLED: "–" };

export function RunState({ status }: { status: RunStatus }): JSX.Element {
  return (
    <span class={`status s-${status === "FAILED" ? "ERROR" : status}`}>
      <span aria-hidden="true">{SHAPES[status]}</span>
      {status.toLowerCase()}
    </span>
  );
}

export function CancelRun({ path }: { path: string }): JSX.Element {
  const sending = useSending();
  const cancel = (): Promise<boolean> =>
    sending.send(async () => {
      await request("POST", `${path}/cancel`);
      await invalidate(path);
    });
  return (
    <>
      <Button disabled={sending.isBusy || !may("evaluate")} title={scopeHint("evaluate")} onClick={() => void cancel()}>
        Cancel the run
      </Button>
      <Failed of={sending} />
    </>
  );
}

/** Finished targets of all, as a bar with its numbers. */
export function Progress({ run }: { run: EvalRunResponse }): JSX.Element {
  return (
    <span class="run-progress">
      <progress aria-label={`Progress of ${run.name ?? "the run"}`} max={Math.max(1, run.total_targets)} value={run.total_targets === 0 ? 1 : run.evaluated_count} />
      <small>
        {count(run.evaluated_count)} / {count(run.total_targets)}
      </small>
    </span>
  );
}
