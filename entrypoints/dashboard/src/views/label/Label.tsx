/** The labelling queue: one item at a time, answered by keys. Several people share it by claims. */
import { useQuery } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { readText, request, type PayloadPart } from "../../api/client.ts";
import { invalidate, queries, useRead, useReturn } from "../../api/queries.ts";
import { may, project, projectId, scopeHint } from "../../api/session.ts";
import type { AnnotationQueueItem, AnnotationQueueResponse, ScoreSummaryItem, TraceScoreResponse } from "../../api/types.d.ts";
import { ago, count, plural } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { START, answered, next, received, skip, undone, valueOf, type Answer, type Labelling } from "../../lib/labelling.ts";
import { announce, Button, Empty, FailureBox, Loading, useTitle, Failed, valueTo } from "../../ui/basics.tsx";
import { Modes } from "../../ui/Modes.tsx";
import { Reason } from "../../ui/LongText.tsx";
import { Link } from "../../ui/Link.tsx";
import { Payload } from "../../ui/payload/Payload.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState, type UrlState } from "../../url/state.ts";
import { TraceChat } from "../trace/TraceChat.tsx";
import { useOutline } from "../trace/useOutline.ts";
import { Agreement } from "./Agreement.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const HELD = 3; // the shown item and the next two
const RENEW_MS = 240_000; // claims end after ten minutes
const PREFETCHED_BYTES = 1_000_000;
const CLAIMS = "evaluations/analytics/annotation-queue/claims";
const SCORES = "evaluations/trace-scores";
const SUMMARY = "evaluations/analytics/trace-scores/summary";

export function Label(): JSX.Element {
  const url = useUrlState();
  const name = url.params.get("name");
  useTitle(name, "Label", project.value?.name);
  return name === null ? <Queues /> : <Queue key={name} name={name} url={url} />;
}

/** The names that a judge has scored traces under. */
function Queues(): JSX.Element {
  const names = useRead<ScoreSummaryItem[]>(SUMMARY, { source: "AUTOMATED" });
  useCurl("Label", "the names", SUMMARY, { source: "AUTOMATED" });
  const judged = names.data?.filter((one) => one.from_runs && one.success_count > 0);
  return (
    <div class="page">
      <h1>Label</h1>
      <p class="hint">Where a judge and people differ, the judge can’t be trusted. Choose whose scores to check.</p>
      <Failed of={names} />
      {names.isPending && <Loading what="scores" />}
      {judged?.length === 0 && (
        <Empty title="No judge has scored a trace yet">
          <p>
            <Link href={projectPath("runs/new")}>Score traces</Link> first.
          </p>
        </Empty>
      )}
      {judged && judged.length > 0 && (
        <ul class="queue-names">
          {judged.map((one) => (
            <li key={one.metric_name}>
              <Link href={projectPath(`label?name=${encodeURIComponent(one.metric_name)}`)}>{one.metric_name}</Link>
              <small>{plural(one.count, "score")}{one.judge_kind && ` · ${one.judge_kind}`} · last {ago(one.latest_score_at)}</small>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** Tells this tab from others of the same key or person, also after a reload. */
function holder(): string {
  try {
    const known = sessionStorage.getItem("pandaprobe.holder");
    if (known !== null) return known;
    const made = crypto.randomUUID();
    sessionStorage.setItem("pandaprobe.holder", made);
    return made;
  } catch {
    return "";
  }
}

function Queue({ name, url }: { name: string; url: UrlState }): JSX.Element {
  const threshold = Number(url.params.get("threshold") ?? "0.5");
  const isBlind = url.params.get("blind") !== "off";
  const hasShades = url.params.get("shades") === "on";
  const isOver = url.params.get("over") === "on";
  const [now, set] = useState<Labelling>(START);
  const [progress, setProgress] = useState<AnnotationQueueResponse | null>(null);
  const [reason, setReason] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [failedClaim, setFailedClaim] = useState<unknown>(null);
  const isBusy = useRef(false);
  const sent = useRef({ said: "", key: "" }); // until it is answered: sent again, it makes no second label
  const reasonInput = useRef<HTMLInputElement>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  const latest = useRef(now);
  latest.current = now;
  const change = (next: Labelling): void => {
    latest.current = next;
    set(next);
  };
  useCurl("Label", "the queue", "evaluations/analytics/annotation-queue", { name, threshold });
  const item = now.items[0];
  const trace = item?.trace_id;

  const claims = useRef(0);
  const claim = async (): Promise<void> => {
    const number = ++claims.current;
    const isLast = (): boolean => number === claims.current; // a later one knows more
    const body = { name, threshold, count: HELD, holder: holder(), skip: latest.current.skipped };
    try {
      const found = await request<AnnotationQueueResponse>("POST", CLAIMS, { body, query: { include: "preview" } });
      if (!isLast()) return;
      setProgress(found);
      setFailedClaim(null);
      change(received(latest.current, found.items));
      for (const one of found.items) prefetch(one.trace_id);
    } catch (reason) {
      if (isLast()) setFailedClaim(reason);
    }
  };
  useReturn(() => failedClaim !== null && claim());
  useEffect(() => {
    change(START);
    void claim();
    const timer = setInterval(() => document.visibilityState === "visible" && void claim(), RENEW_MS);
    return () => clearInterval(timer);
  }, [name, threshold]);
  useEffect(() => {
    if (trace !== undefined || progress !== null) url.update({ at: trace ?? null });
    setReason("");
    setError(null);
  }, [trace]);

  /** One act at a time: a second key while a request runs does nothing. */
  const act = async (work: () => Promise<void>): Promise<void> => {
    if (isBusy.current) return;
    isBusy.current = true;
    setError(null);
    try {
      await work();
    } catch (reason) {
      setError(reason);
    } finally {
      isBusy.current = false;
    }
  };
  const needed = isOver ? "evaluate" : "ingest";
  const give = (value: number): Promise<void> =>
    act(async () => {
      if (item === undefined || now.answer !== null) return;
      if (!may(needed)) return announce(scopeHint(needed));
      const said = { value: String(value), ...(reason.trim() ? { reason: reason.trim() } : {}) };
      const body = { trace_id: item.trace_id, name, data_type: "NUMERIC", source: "ANNOTATION", ...said };
      if (sent.current.said !== JSON.stringify(body)) sent.current = { said: JSON.stringify(body), key: crypto.randomUUID() };
      const label = isOver
        ? await request<TraceScoreResponse>("PATCH", `${SCORES}/${item.score_id}`, { body: said })
        : await request<TraceScoreResponse>("POST", SCORES, { body, headers: { "Idempotency-Key": sent.current.key } });
      sent.current = { said: "", key: "" };
      change(answered(latest.current, { item, value, score: label.id, isOver }));
      announce(`Labelled ${value}`);
      void invalidate("evaluations/analytics/agreement");
      void claim();
    });
  const goOn = (): void => {
    if (now.answer === null) return;
    change(next(latest.current));
    heading.current?.focus();
  };
  const pass = (): void => {
    if (item === undefined || now.answer !== null) return;
    change(skip(latest.current));
    announce("Skipped");
    void claim();
    heading.current?.focus();
  };
  const undo = (): Promise<void> =>
    act(async () => {
      const last = latest.current.answers.at(-1);
      if (last === undefined) return announce("Nothing to undo");
      if (!may("evaluate")) return announce(scopeHint("evaluate"));
      await (last.isOver ? request("POST", `${SCORES}/${last.score}/undo`) : request("DELETE", `${SCORES}/${last.score}`));
      change(undone(latest.current));
      announce("Took the last label back");
      void invalidate("evaluations/analytics/agreement");
      void claim();
    });
  const flip = (parameter: string, value: string | null): void => url.update({ [parameter]: value }, { push: true });
  useCommands([
    ...["1", "0", ...(hasShades ? "23456789" : "")].map((key) => ({ keys: key, label: key === "1" ? "Pass" : key === "0" ? "Fail" : `Label 0.${key}`, group: "Labelling", run: () => void give(valueOf(key, true)!) })),
    { keys: "r", label: "Write a reason", group: "Labelling", run: () => reasonInput.current?.focus() },
    { keys: "Enter", label: "Next item", group: "Labelling", run: goOn },
    { keys: "s", label: "Skip the item", group: "Labelling", run: pass },
    { keys: "z", label: "Undo the last label", group: "Labelling", run: () => void undo() },
    { keys: "o", label: "Label over the judge’s score, or as an own score", group: "Labelling", run: () => flip("over", isOver ? null : "on") },
  ]);
  return (
    <div class="page labelling">
      <header class="title">
        <h1 ref={heading} tabIndex={-1}>
          Label <em>{name}</em>
        </h1>
        <Link href={projectPath("label")}>All queues</Link>
        <p class="label-progress" aria-live="polite">
          <strong>{count(now.answers.length)}</strong> labelled by you
          {progress && (
            <>
              {" · "}
              <strong>{count(progress.labelled_today)}</strong> by everyone today · <strong>{count(progress.queue_length)}</strong> waiting
            </>
          )}
        </p>
      </header>
      <div class="label-options" role="group" aria-label="How to label">
        <Switch label="Hide the judge’s score until I answer" on={isBlind} flip={() => flip("blind", isBlind ? "off" : null)} />
        <Switch label="Also 0.2 to 0.9 (keys 2 to 9)" on={hasShades} flip={() => flip("shades", hasShades ? null : "on")} />
        <Switch label="Replace the judge’s score (o)" on={isOver} flip={() => flip("over", isOver ? null : "on")} />
        <label>
          Passes from{" "}
          <input
            type="number"
            min="0"
            max="1"
            step="0.05"
            value={threshold}
            onChange={(event) => event.currentTarget.validity.valid && event.currentTarget.value !== "" && url.update({ threshold: event.currentTarget.value }, { push: true })}
          />
        </label>
      </div>
      {failedClaim !== null && <FailureBox error={failedClaim} again={() => void claim()} />}
      {item === undefined ? (
        failedClaim === null && <Nothing progress={progress} done={now.answers.length} again={() => void claim()} />
      ) : (
        <>
          <Item key={item.trace_id} item={item} url={url} isShown={!isBlind || now.answer !== null} threshold={threshold} />
          <div class="label-acts">
            <Failed of={{ error }} />
            <div class="answers" role="group" aria-label="Answer">
              {["1", "0", ...(hasShades ? "23456789" : "")].map((key) => {
                const value = valueOf(key, true)!;
                const isGiven = now.answer?.value === value;
                return (
                  <Button
                    key={key}
                    class={key === "1" ? "pass" : key === "0" ? "fail" : ""}
                    aria-pressed={isGiven}
                    disabled={(now.answer !== null && !isGiven) || !may(needed)}
                    title={scopeHint(needed)}
                    onClick={() => void give(value)}
                  >
                    {key > "1" ? value : <>{key === "1" ? "Pass" : "Fail"} <kbd>{key}</kbd></>}
                  </Button>
                );
              })}
              <input
                ref={reasonInput}
                aria-label="Reason"
                placeholder="Reason (r)"
                value={reason}
                disabled={now.answer !== null}
                onInput={valueTo(setReason)}
                onKeyDown={(event) => (event.key === "Enter" || event.key === "Escape") && event.currentTarget.blur()}
              />
              <span class="spread" />
              <Button disabled={now.answer !== null} onClick={pass}>
                Skip <kbd>s</kbd>
              </Button>
              <Button disabled={now.answers.length === 0 || !may("evaluate")} title={scopeHint("evaluate")} onClick={() => void undo()}>
                Undo <kbd>z</kbd>
              </Button>
              <Button class="main" disabled={now.answer === null} onClick={goOn}>
                Next <kbd>Enter</kbd>
              </Button>
            </div>
            {now.answer && <Said answer={now.answer} threshold={threshold} />}
          </div>
        </>
      )}
      {now.answers.length > 0 && <Agreement name={name} threshold={threshold} fingerprint={now.answers.at(-1)!.item.fingerprint} />}
    </div>
  );
}

function Switch({ label, on, flip }: { label: string; on: boolean; flip: () => void }): JSX.Element {
  return (
    <label class="check">
      <input type="checkbox" checked={on} onChange={flip} /> {label}
    </label>
  );
}

function Nothing({ progress, done, again }: { progress: AnnotationQueueResponse | null; done: number; again: () => void }): JSX.Element {
  if (progress === null) return <Loading what="the queue" />;
  if (progress.queue_length > 0) {
    return (
      <Empty title="Others have the rest">
        <p>{plural(progress.queue_length, "item waits", "items wait")} with other people, or you skipped them. What isn’t labelled comes back after ten minutes.</p>
        <Button onClick={again}>Look again</Button>
      </Empty>
    );
  }
  return (
    <Empty title={done > 0 ? "All done" : "Nothing waits for a label"}>
      <p>{done > 0 ? `You labelled ${plural(done, "item")}.` : "Every trace with a score of a judge has a label already, or no judge has scored any."}</p>
    </Empty>
  );
}

const WHY: Record<string, string> = {
  uncertain: "near the threshold, where a label tells most",
  random: "drawn at random, to find errors of which the judge is sure",
};

function textQuery(path: string) {
  return { queryKey: [projectId.value, path, "text"], queryFn: () => readText(path, { maxBytes: PREFETCHED_BYTES }), staleTime: 60_000, retry: false };
}

function prefetch(trace: string): void {
  for (const part of ["input", "output"]) void queries.prefetchQuery(textQuery(`traces/${trace}/${part}`));
}

function Item(props: { item: AnnotationQueueItem; url: UrlState; isShown: boolean; threshold: number }): JSX.Element {
  const { item, url, isShown, threshold } = props;
  const view = url.params.get("view") === "calls" ? "calls" : "io";
  return (
    <article class="label-item" aria-label="Item">
      <h2 class="sr">Item</h2>
      <header>
        <Modes label="Show" of={["io", "calls"]} at={view} text={(one) => (one === "io" ? "Input and output" : "Model calls")} choose={(one) => url.update({ view: one === "io" ? null : one })} />
        <span class="tag" title={WHY[item.why] ?? ""}>{item.why}</span>
        <small>{WHY[item.why]} · scored {ago(item.created_at)}</small>
        <Link href={projectPath(`traces/${item.trace_id}`)}>Open the trace</Link>
      </header>
      {isShown && (
        <p class="judged">
          {item.judge_kind === "heuristic" && <span class="tag">heuristic</span>} The judge gave <strong class={(item.score ?? 0) >= threshold ? "good-text" : "bad-text"}>{item.score}</strong>
          {item.reason ? <>: <Reason text={item.reason} /></> : " without a reason"}
        </p>
      )}
      {view === "calls" ? (
        <Calls id={item.trace_id} url={url} />
      ) : (
        <div class="label-io">
          <Part trace={item.trace_id} part="input" label="Input" url={url} />
          <Part trace={item.trace_id} part="output" label="Output" url={url} />
        </div>
      )}
    </article>
  );
}

function Part({ trace, part, label, url }: { trace: string; part: string; label: string; url: UrlState }): JSX.Element {
  const path = `traces/${trace}/${part}`;
  const known = useQuery<PayloadPart>(textQuery(path));
  if (known.isPending) return <Loading what={label.toLowerCase()} />;
  const whole = known.data?.isWhole ? known.data : null;
  return <Payload source={{ label, path, text: whole?.text ?? null, total: known.data?.total ?? null }} name="label" url={url} />;
}

function Calls({ id, url }: { id: string; url: UrlState }): JSX.Element {
  const { answer, outline, tree } = useOutline(id);
  if (answer.isError) return <Failed of={answer} />;
  if (outline === null || tree === null) return <Loading what="the model calls" />;
  return <TraceChat id={id} outline={outline} tree={tree} matches={null} selected={-1} select={() => {}} url={url} />;
}

function Said({ answer, threshold }: { answer: Answer; threshold: number }): JSX.Element {
  const { item, value } = answer;
  const agree = item.score !== null && item.score >= threshold === value >= threshold;
  return (
    <p role="status">
      You said <strong>{value >= threshold ? "pass" : "fail"}</strong>, the judge said {item.score === null ? "nothing" : item.score >= threshold ? "pass" : "fail"}:{" "}
      <strong class={agree ? "good-text" : "bad-text"}>{agree ? "you agree" : "you differ"}</strong>. {answer.isOver ? "Your value stands in place of the judge’s." : "Your label is kept next to the judge’s score."}
    </p>
  );
}
