/** A session as a conversation: one turn for each trace, drawn as far as it is in sight. */
import { useInfiniteQuery } from "@tanstack/preact-query";
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "@tanstack/virtual-core";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { Failure } from "../api/client.ts";
import { useRead } from "../api/queries.ts";
import { readTurns, type SessionTurn, type TurnPage } from "../api/turns.ts";
import { project, projectId } from "../api/session.ts";
import type { SessionTotals } from "../api/more.ts";
import { chatOf, textOf, type Turn } from "../lib/chat.ts";
import { cost, costHint, count, duration, fullInstant, instant, NONE, plural } from "../lib/format.ts";
import { useCommands } from "../lib/keys.ts";
import { Empty, FailureBox, Loading, Status, useTitle } from "../ui/basics.tsx";
import { TurnView } from "../ui/Chat.tsx";
import { JsonView } from "../ui/JsonView.tsx";
import { LazyMarkdown } from "../ui/Payload.tsx";
import { Scores } from "../ui/Scores.tsx";
import { projectPath } from "../ui/Shell.tsx";
import { useUrlState } from "../url/state.ts";
import { Peek } from "./Peek.tsx";

export function Conversation({ id }: { id: string }): JSX.Element {
  const path = `sessions/${encodeURIComponent(id)}`;
  const url = useUrlState();
  const { params, update } = url;
  useTitle(id, "Session", project.value?.name);
  const summary = useRead<SessionTotals>(path, { limit: 1 });
  const pages = useInfiniteQuery<TurnPage>({
    queryKey: [projectId.value, `${path}/turns`],
    initialPageParam: null,
    queryFn: ({ pageParam, signal }) => readTurns(path, pageParam, signal),
    getNextPageParam: (last) => last.next,
  });
  const [scores, showScores] = useState(false);
  const turns = useMemo(() => pages.data?.pages.flatMap((page) => page.turns) ?? [], [pages.data]);
  const peek = params.get("turn");
  const missing = pages.error instanceof Failure && pages.error.status === 404;
  if (missing) {
    return (
      <Empty title="This session isn’t here, or isn’t yours" isPage>
        <Link href={projectPath("sessions")}>All sessions</Link>
      </Empty>
    );
  }
  const totals = summary.data;
  return (
    <div class={`list ${peek ? "with-peek" : ""}`}>
      <div class="list-main conversation">
        <header class="trace-head">
          <div class="title">
            <Link href={projectPath("sessions")} class="back">Sessions /</Link>
            <h1>{id}</h1>
            {totals?.has_error && <span class="bad-text">✕ failed</span>}
          </div>
          {totals && (
            <dl class="facts">
              <div><dt>Traces</dt><dd>{count(totals.trace_count)}</dd></div>
              <div><dt>Time in traces</dt><dd>{duration(totals.total_latency_ms)}</dd></div>
              <div><dt>Tokens</dt><dd>{count(totals.total_tokens)}</dd></div>
              <div><dt>Cost</dt><dd><span title={costHint(totals.total_cost, totals.unpriced_span_count)}>{cost(totals.total_cost, totals.unpriced_span_count)}</span></dd></div>
              {totals.user_id && <div><dt>User</dt><dd><Link href={`${projectPath("sessions")}?user_id=${encodeURIComponent(totals.user_id)}`}>{totals.user_id}</Link></dd></div>}
              <div><dt>First</dt><dd>{instant(totals.first_trace_at)}</dd></div>
              <div><dt>Last</dt><dd>{instant(totals.last_trace_at)}</dd></div>
            </dl>
          )}
          <details class="session-scores" onToggle={(event) => showScores(event.currentTarget.open)}>
            <summary>Scores</summary>
            {scores && <Scores path={`evaluations/session-scores/${encodeURIComponent(id)}`} />}
          </details>
        </header>
        {pages.isError && <FailureBox error={pages.error} again={() => void pages.refetch()} />}
        {pages.isPending && <Loading what="the conversation" />}
        {turns.length > 0 && (
          <Turns
            turns={turns}
            chosen={peek}
            open={(trace) => update({ turn: trace, span: null }, { push: true })}
            more={() => {
              if (pages.hasNextPage && !pages.isFetchingNextPage) void pages.fetchNextPage();
            }}
          />
        )}
      </div>
      {peek && <Peek id={peek} close={() => update({ turn: null, span: null })} />}
    </div>
  );
}

function Turns(props: {
  turns: readonly SessionTurn[];
  chosen: string | null;
  open: (trace: string) => void;
  more: () => void;
}): JSX.Element {
  const { turns, chosen } = props;
  const box = useRef<HTMLDivElement>(null);
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  const virtual = useRef<Virtualizer<HTMLDivElement, HTMLElement> | null>(null);
  const options = {
    count: turns.length,
    getScrollElement: () => box.current,
    estimateSize: () => 220,
    overscan: 3,
    scrollToFn: elementScroll,
    observeElementRect,
    observeElementOffset,
    getItemKey: (index: number) => turns[index]?.trace.trace_id ?? index,
    onChange: () => redraw(0 as never),
  };
  virtual.current ??= new Virtualizer(options);
  virtual.current.setOptions(options);
  useLayoutEffect(() => virtual.current?._didMount(), []);
  useLayoutEffect(() => virtual.current?._willUpdate());
  const items = virtual.current.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last > turns.length - 10) props.more();
  }, [last, turns.length]);
  const at = turns.findIndex((turn) => turn.trace.trace_id === chosen);
  const go = (to: number): void => {
    const turn = turns[Math.max(0, Math.min(turns.length - 1, to))];
    if (!turn) return;
    props.open(turn.trace.trace_id);
    virtual.current?.scrollToIndex(turns.indexOf(turn), { align: "auto" });
  };
  const group = "Session";
  useCommands([
    { keys: "j", label: "Next turn", group, hidden: true, run: () => go(at + 1) },
    { keys: "k", label: "Previous turn", group, hidden: true, run: () => go(at - 1) },
  ]);
  return (
    <div class="turns" ref={box} tabIndex={0} role="feed" aria-label="Conversation" aria-busy={false}>
      <div style={{ height: `${virtual.current.getTotalSize()}px`, position: "relative" }}>
        {items.map((item) => {
          const turn = turns[item.index];
          return turn === undefined ? null : (
            <article
              key={item.key}
              data-index={item.index}
              ref={(element) => virtual.current?.measureElement(element)}
              class={`session-turn ${turn.trace.trace_id === chosen ? "at" : ""}`}
              aria-posinset={item.index + 1}
              aria-setsize={turns.length}
              style={{ transform: `translateY(${item.start}px)` }}
            >
              <SessionTurnView turn={turn} open={() => props.open(turn.trace.trace_id)} />
            </article>
          );
        })}
      </div>
    </div>
  );
}

function SessionTurnView({ turn, open }: { turn: SessionTurn; open: () => void }): JSX.Element {
  const { trace } = turn;
  const errors = trace.error_count ?? 0;
  const input = useMemo(() => lastOf(turn.input, "user"), [turn.input]);
  const output = useMemo(() => lastOf(turn.output, "assistant"), [turn.output]);
  const steps = [turn.llmCalls > 0 && plural(turn.llmCalls, "model call"), turn.toolCalls > 0 && plural(turn.toolCalls, "tool call")].filter(Boolean);
  return (
    <>
      <header>
        <h2>
          <button type="button" class="link" onClick={open}>
            {trace.name}
          </button>
        </h2>
        <Status value={trace.status} />
        <time title={fullInstant(trace.started_at)}>{instant(trace.started_at)}</time>
        <span>{duration(trace.latency_ms)}</span>
        <span title={costHint(trace.total_cost, trace.unpriced_span_count)}>{cost(trace.total_cost, trace.unpriced_span_count)}</span>
        {steps.length > 0 && <span>{steps.join(", ")}</span>}
        {errors > 0 && <span class="bad-text">{plural(errors, "failed span")}</span>}
        {(trace.scores ?? []).map((score) => (
          <span class={`score o-${score.outcome}`} key={score.name}>
            {score.name} {score.value ?? NONE}
          </span>
        ))}
      </header>
      <Side said={input} role="user" />
      <Side said={output} role="assistant" />
      {turn.isCut && <p class="hint">A payload is longer than shown: open the trace to read it whole.</p>}
    </>
  );
}

type Said = { turn: Turn; text: string } | { plain: string } | { json: string } | null;

/** Of the input the last words of the user, since it often has all that was said before. */
function lastOf(text: string | null, role: string): Said {
  if (text === null) return null;
  const turns = chatOf(text);
  const turn = turns?.findLast((one) => one.role === role) ?? turns?.at(-1);
  if (turn) return { turn, text };
  const plain = textOf(text);
  return plain === null ? { json: text } : { plain };
}

function Side({ said, role }: { said: Said; role: string }): JSX.Element | null {
  if (said === null) return null;
  if ("turn" in said) return <TurnView turn={said.turn} text={said.text} isTop />;
  return (
    <article class={`turn r-${role}`}>
      <h3>{role}</h3>
      {"plain" in said ? <LazyMarkdown text={said.plain} /> : <JsonView text={said.json} label={role} />}
    </article>
  );
}
