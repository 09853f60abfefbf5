/** The dialog over the list of traces: a run of metrics over selected or matching traces. */
import "../parts.ts"; // so that it is a file of its own
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { invalidate, useRead } from "../../api/queries.ts";
import type { EvalRunResponse } from "../../api/types.d.ts";
import { filterBody } from "../../lib/filters.ts";
import { count, plural, tracesText } from "../../lib/format.ts";
import { announce, Button, Dialog, Loading, Failed } from "../../ui/basics.tsx";
import { Reason } from "../../ui/LongText.tsx";
import type { UrlState } from "../../url/state.ts";
import { NO_FORM, RUNS } from "../../lib/run-form.ts";
import { CancelRun, isOver, POLL_MS } from "./parts.tsx";
import { RunForm, RunLink } from "./RunForm.tsx";

interface ScoreProps {
  url: UrlState;
  total: number;
  isAtLeast: boolean; // more than `total` may match
  selected: readonly string[];
  close: () => void;
}

export function ScoreRun({ url, total, isAtLeast, selected, close }: ScoreProps): JSX.Element {
  const [of, setOf] = useState<"selected" | "all">(selected.length > 0 ? "selected" : "all");
  const [now] = useState(Date.now());
  const id = url.params.get("run");
  const leave = (): void => {
    url.update(NO_FORM);
    close();
  };
  if (id !== null) return <RunProgress id={id} close={leave} />;
  return (
    <Dialog title="Score traces" close={leave} wide>
      {selected.length > 0 && (
        <div role="radiogroup" aria-label="Which traces" class="fields">
          <label class="check">
            <input type="radio" name="of" checked={of === "selected"} onChange={() => setOf("selected")} /> {plural(selected.length, "selected trace")}
          </label>
          <label class="check">
            <input type="radio" name="of" checked={of === "all"} onChange={() => setOf("all")} /> All {tracesText(total, isAtLeast)} that match
          </label>
        </div>
      )}
      <RunForm
        url={url}
        of="traces"
        ids={of === "selected" ? selected : null}
        filters={filterBody(url.params, now)}
        started={(run) => url.update({ ...NO_FORM, run: run.id })}
      />
    </Dialog>
  );
}

function RunProgress({ id, close }: { id: string; close: () => void }): JSX.Element {
  const path = `${RUNS.traces}/${encodeURIComponent(id)}`;
  const [isDone, setDone] = useState(false);
  const answer = useRead<EvalRunResponse>(path, {}, { pollMs: isDone ? false : POLL_MS });
  const run = answer.data;
  const status = run?.status;
  useEffect(() => {
    if (status === undefined || !isOver(status)) return;
    setDone(true);
    announce(`The run is ${status.toLowerCase()}`);
    void invalidate("traces");
  }, [status]);
  if (answer.isError) {
    return (
      <Dialog title="Run" close={close}>
        <Failed of={answer} />
      </Dialog>
    );
  }
  const scores = run ? run.total_targets * run.metric_names.length : 0;
  return (
    <Dialog title={run?.name ?? "Run"} close={close}>
      {run === undefined ? (
        <Loading what="the run" />
      ) : (
        <>
          <p role="status">
            {run.status.toLowerCase()}: {run.metric_names.join(", ")}
          </p>
          <progress aria-label="Progress" max={Math.max(1, run.total_targets)} value={run.evaluated_count} />
          <dl class="facts">
            <div><dt>Traces done</dt><dd>{count(run.evaluated_count)} of {count(run.total_targets)}</dd></div>
            <div><dt>Scores skipped</dt><dd>{count(run.skipped_count)} of {count(scores)}</dd></div>
            <div><dt>Scores failed</dt><dd class={run.failed_count > 0 ? "bad-text" : ""}>{count(run.failed_count)} of {count(scores)}</dd></div>
          </dl>
          {run.waiting_for && <p class="hint"><Reason text={run.waiting_for.reason} /></p>}
          {run.error_message && <p class="problem">{run.error_message}</p>}
          <p class="hint">{isDone ? "The scores are in the column Scores and in each trace." : "The run goes on if you close this."}</p>
          <p class="actions">
            <Button class="main" onClick={close}>Close</Button>
            <RunLink of="traces" id={run.id}>Open the run</RunLink>
            {!isDone && <CancelRun path={path} />}
          </p>
        </>
      )}
    </Dialog>
  );
}
