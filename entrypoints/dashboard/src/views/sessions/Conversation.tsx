/** A session as a conversation: one turn for each trace, drawn as far as it is in sight. */
import { useInfiniteQuery } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Failure } from "../../api/client.ts";
import { useRead } from "../../api/queries.ts";
import { readTurns, type SessionTurn, type TurnPage } from "../../api/turns.ts";
import { project, projectId } from "../../api/session.ts";
import type { SessionDetail } from "../../api/types.d.ts";
import { chatOf, textOf, type Part, type Turn } from "../../lib/payload/chat.ts";
import { lowered } from "../../lib/payload/json-index.ts";
import { cost, costHint, count, duration, fullInstant, instant, plural } from "../../lib/format.ts";
import { offerFocus, useCommands } from "../../lib/keys.ts";
import { announce, Button, Empty, Loading, Status, useTitle, Failed } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { TurnView } from "../../ui/payload/Chat.tsx";
import { JsonView } from "../../ui/payload/JsonView.tsx";
import { LazyMarkdown } from "../../ui/payload/Payload.tsx";
import { ScoreBadge } from "../../ui/ScoreBadge.tsx";
import { Scores } from "../../ui/Scores.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useVirtual } from "../../ui/table/useVirtual.ts";
import { useUrlState, type UrlState } from "../../url/state.ts";
import { Peek } from "../trace/Peek.tsx";
import { useCurl } from "../../ui/useCurl.ts";

export function Conversation({ id }: { id: string }): JSX.Element {
  const path = `sessions/${encodeURIComponent(id)}`;
  const url = useUrlState();
  const { params, update } = url;
  useTitle(id, "Session", project.value?.name);
  const summary = useRead<SessionDetail>(path, { limit: 1 });
  const pages = useInfiniteQuery<TurnPage>({
    queryKey: [projectId.value, `${path}/turns`],
    initialPageParam: null,
    queryFn: ({ pageParam, signal }) => readTurns(path, pageParam, signal),
    getNextPageParam: (last) => last.next,
  });
  const [scores, showScores] = useState(false);
  const [wantedIndex, want] = useState(-1); // a turn to jump to, which may not be read yet; Infinity: the last
  const [seeks, seek] = useState<Seeks>(0);
  const turns = useMemo(() => pages.data?.pages.flatMap((page) => page.turns) ?? [], [pages.data]);
  const peek = params.get("turn");
  useCurl("Session", "the turns", `${path}/turns`);
  useCommands([
    {
      keys: "Escape", // also while the turns aren't read yet
      label: "Close the trace, then clear the search",
      group: "Session",
      hidden: true,
      run: () => update(peek === null ? { q: null } : { turn: null, span: null }),
    },
  ]);
  const wanted = (params.get("q") ?? "").trim();
  const here = params.get("at") ?? peek;
  const isHereUnread = here !== null && pages.isSuccess && !turns.some((turn) => turn.trace.trace_id === here);
  const readsAll = wanted !== "" || isHereUnread || wantedIndex >= turns.length || seeks !== 0;
  useEffect(() => {
    if (readsAll && pages.hasNextPage && !pages.isFetchingNextPage) void pages.fetchNextPage();
  }, [readsAll, pages.hasNextPage, pages.isFetchingNextPage, turns.length]);
  const missing = pages.error instanceof Failure && pages.error.status === 404;
  if (missing) {
    return (
      <Empty title="This session isn’t here, or isn’t yours" isPage>
        <Link href={projectPath("sessions")}>All sessions</Link>
      </Empty>
    );
  }
  const totals = summary.data;
  const total = pages.hasNextPage ? Math.max(turns.length, totals?.trace_count ?? 0) : turns.length;
  return (
    <div class={`list ${peek ? "with-peek" : ""}`}>
      <div class="list-main conversation">
        <header class="trace-head">
          <div class="title">
            <Link href={projectPath("sessions")} class="back">Sessions /</Link>
            <h1>{id}</h1>
            {totals && (totals.has_error || totals.has_failed_span) && <span class="bad-text">✕ {totals.has_error ? "failed" : "failed spans"}</span>}
          </div>
          {totals && (
            <dl class="facts">
              <div><dt>Traces</dt><dd>{count(totals.trace_count)}</dd></div>
              <div><dt>Time in traces</dt><dd>{duration(totals.total_latency_ms)}</dd></div>
              <div><dt>Spans</dt><dd>{count(totals.total_span_count)}</dd></div>
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
        <Failed of={pages} />
        {pages.isPending && <Loading what="the conversation" />}
        {turns.length > 0 && (
          <Turns
            turns={turns}
            total={total}
            url={url}
            wanted={wanted}
            wantedIndex={wantedIndex}
            want={want}
            seeks={seeks}
            seek={seek}
            hasMore={pages.hasNextPage}
            hasFailed={totals !== undefined && (totals.has_error || totals.has_failed_span)}
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

/** The direction in which a failed turn is sought, also among turns that aren't read yet; 0: none is. */
type Seeks = 1 | -1 | 0;

interface TurnsProps {
  turns: readonly SessionTurn[];
  total: number;
  url: UrlState;
  wanted: string; // text
  wantedIndex: number;
  want: (index: number) => void;
  seeks: Seeks;
  seek: (direction: Seeks) => void;
  hasMore: boolean; // turns that aren't read yet
  hasFailed: boolean; // a trace or a span of the session failed, be its turn read or not
  more: () => void;
}

function Turns(props: TurnsProps): JSX.Element {
  const { turns, total, url, wanted, wantedIndex, seeks } = props;
  const { params, update } = url;
  const peek = params.get("turn");
  const here = params.get("at") ?? peek;
  const box = useRef<HTMLDivElement>(null);
  const find = useRef<HTMLInputElement>(null);
  const keys = useMemo(() => turns.map((turn) => turn.trace.trace_id), [turns]);
  const virtual = useVirtual(box, keys, 220, 3);
  const { items } = virtual;
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last > turns.length - 10) props.more();
  }, [last, turns.length]);
  const found = useMemo(() => matchesOf(turns, wanted), [turns, wanted]);
  const at = useMemo(() => turns.findIndex((turn) => turn.trace.trace_id === here), [turns, here]);
  // The turn of the address is shown once, then whenever a key or the rail chooses another one.
  const shownAt = useRef<string | null>(null);
  useEffect(() => {
    if (at < 0 || shownAt.current === here) return;
    shownAt.current = here;
    virtual.show(at);
  }, [at, here]);
  const isGoing = useRef(true); // to another turn, which takes the focus: a screen reader goes on in it
  const isDrawn = items.some((item) => item.index === at);
  useEffect(() => {
    if (!isGoing.current || !isDrawn) return;
    isGoing.current = false;
    offerFocus(box.current?.querySelector<HTMLElement>("[aria-current]"));
  }, [at, isDrawn]);
  const go = (to: number): void => {
    const index = Math.max(0, Math.min(total - 1, to));
    const turn = turns[index];
    if (turn === undefined) return props.want(index);
    const id = turn.trace.trace_id;
    isGoing.current = true;
    update(peek === null ? { at: id } : { at: id, turn: id, span: null });
  };
  const hasAll = !props.hasMore;
  useEffect(() => {
    if (wantedIndex < 0 || (wantedIndex >= turns.length && !hasAll)) return;
    props.want(-1);
    go(wantedIndex);
  }, [wantedIndex, turns.length, hasAll]);
  const open = (id: string): void => update({ turn: id, at: id, span: null }, { push: true });
  const step = (list: readonly number[], by: 1 | -1, what: string): void => {
    if (list.length === 0) return announce(`No ${what}`);
    go(by > 0 ? (list.find((index) => index > at) ?? list[0]!) : (list.findLast((index) => index < at) ?? list.at(-1)!));
  };
  const failed = useMemo(() => turns.flatMap((turn, index) => (isFailed(turn) ? [index] : [])), [turns]);
  useEffect(() => {
    if (seeks === 0) return;
    const isKnown = hasAll || (seeks > 0 && failed.some((index) => index > at));
    if (!isKnown) return; // the next turns are being read
    props.seek(0);
    step(failed, seeks, "failed turn");
  }, [seeks, failed, hasAll]);
  useHighlight(box, wanted, items.map((item) => item.key).join());
  const group = "Session";
  useCommands([
    { keys: "j", label: "Next turn", group, run: () => go(at + 1) },
    { keys: "k", label: "Previous turn", group, run: () => go(at < 0 ? 0 : at - 1) },
    { keys: "o", label: "Open the trace of the turn, or close it", group, run: () => turns[at] && (peek === null ? open(turns[at].trace.trace_id) : update({ turn: null, span: null })) },
    { keys: "Enter", label: "Open the trace of the turn", group, hidden: true, run: () => turns[at] && open(turns[at].trace.trace_id) },
    { keys: "Home", label: "First turn", group, hidden: true, run: () => go(0) },
    { keys: "End", label: "Last turn", group, hidden: true, run: () => (hasAll ? go(total - 1) : props.want(Infinity)) },
    { keys: "/", label: "Find in the conversation", group, run: () => find.current?.focus() },
    { keys: "n", label: "Next turn that was found", group, run: () => step(found, 1, "match") },
    { keys: "Shift+n", label: "Previous turn that was found", group, run: () => step(found, -1, "match") },
    { keys: "e", label: "Next failed turn", group, run: () => props.seek(1) },
    { keys: "Shift+e", label: "Previous failed turn", group, run: () => (failed.some((index) => index < at) ? step(failed, -1, "failed turn") : props.seek(-1)) },
  ]);
  const position = found.indexOf(at);
  return (
    <>
      <div class="toolbar">
        <input
          ref={find}
          type="search"
          aria-label="Find in the conversation"
          placeholder="Find in the conversation"
          value={params.get("q") ?? ""}
          onInput={(event) => update({ q: event.currentTarget.value || null })}
          onKeyDown={(event) => {
            if (event.key === "Enter") step(found, event.shiftKey ? -1 : 1, "match");
            else if (event.key === "Escape") event.currentTarget.blur();
          }}
        />
        <span role="status">
          {wanted !== "" &&
            `${position >= 0 ? `${count(position + 1)} of ` : ""}${plural(found.length, "turn")}${turns.length < total ? ` in the first ${count(turns.length)}` : ""}`}
        </span>
        {(failed.length > 0 || (props.hasFailed && !hasAll)) && (
          <Button class="bad-text" onClick={() => props.seek(1)}>
            {count(failed.length)} failed{turns.length < total ? " so far" : ""}
          </Button>
        )}
        <span class="total">{at >= 0 && `turn ${count(at + 1)} of ${count(total)}`}</span>
      </div>
      <div class="turns-and-rail">
        <div class="turns" ref={box} tabIndex={0} role="feed" aria-label="Conversation" aria-busy={turns.length < total}>
          <div style={{ height: `${virtual.height}px`, position: "relative" }}>
            {items.map((item) => {
              const turn = turns[item.index];
              return turn === undefined ? null : (
                <article
                  key={item.key}
                  data-key={item.key}
                  ref={virtual.measure}
                  class={`session-turn ${turn.trace.trace_id === here ? "at" : ""}`}
                  tabIndex={-1}
                  aria-label={`Turn ${item.index + 1}, ${turn.trace.name}`}
                  aria-posinset={item.index + 1}
                  aria-setsize={total}
                  aria-current={turn.trace.trace_id === here ? "true" : undefined}
                  style={{ transform: `translateY(${item.start}px)` }}
                >
                  <SessionTurnView turn={turn} open={() => open(turn.trace.trace_id)} />
                </article>
              );
            })}
          </div>
        </div>
        {total > 1 && <Rail turns={turns} total={total} found={found} first={items[0]?.index ?? 0} last={last} at={at} go={go} />}
      </div>
    </>
  );
}

function isFailed(turn: SessionTurn): boolean {
  return turn.trace.status === "ERROR" || (turn.trace.error_count ?? 0) > 0;
}

const RAIL = 100; // width, in units of the drawing
const PLACES_MIN = 24; // of the rail: few turns don't fill it

/** All turns as bars as long as their latency. A press leads to a turn; keys and find do too. */
function Rail(props: {
  turns: readonly SessionTurn[];
  total: number;
  found: readonly number[];
  first: number;
  last: number;
  at: number;
  go: (index: number) => void;
}): JSX.Element {
  const { turns, total, found, first, last, at } = props;
  const places = Math.max(total, PLACES_MIN);
  const [title, setTitle] = useState("");
  const shapes = useMemo(() => {
    const slowest = Math.max(1, ...turns.map((turn) => turn.trace.latency_ms ?? 0));
    const bar = (index: number): string => {
      const width = Math.max(8, ((turns[index]!.trace.latency_ms ?? 0) / slowest) * RAIL);
      return `M0 ${index + 0.15}h${width}v0.7h-${width}z`;
    };
    const all = turns.map((_, index) => index);
    return {
      fine: all.filter((index) => !isFailed(turns[index]!)).map(bar).join(""),
      bad: all.filter((index) => isFailed(turns[index]!)).map(bar).join(""),
    };
  }, [turns]);
  const indexAt = (event: MouseEvent & { currentTarget: SVGSVGElement }): number => {
    const box = event.currentTarget.getBoundingClientRect();
    return Math.max(0, Math.min(total - 1, Math.floor(((event.clientY - box.top) / box.height) * places)));
  };
  return (
    <svg
      class="rail"
      viewBox={`0 0 ${RAIL} ${places}`}
      preserveAspectRatio="none"
      aria-hidden="true"
      onClick={(event) => props.go(indexAt(event))}
      onPointerMove={(event) => {
        const index = indexAt(event);
        const turn = turns[index];
        setTitle(`Turn ${index + 1}${turn ? ` · ${turn.trace.name} · ${duration(turn.trace.latency_ms)}` : ""}`);
      }}
    >
      <title>{title}</title>
      <rect class="sight" x={0} y={first} width={RAIL} height={last - first + 1} />
      <path class="bar" d={shapes.fine} />
      <path class="bad" d={shapes.bad} />
      <path class="match" d={found.map((index) => `M80 ${index}h20v1h-20z`).join("")} />
      {at >= 0 && <rect class="here" x={0} y={at} width={RAIL} height={1} />}
    </svg>
  );
}

const shownTexts = new WeakMap<SessionTurn, string>();

/** What a turn shows, in lower case. */
function shownText(turn: SessionTurn): string {
  let text = shownTexts.get(turn);
  if (text === undefined) {
    text = lowered([turn.trace.name, saidText(lastOf(turn.input, "user")), saidText(lastOf(turn.output, "assistant"))].join("\n"));
    shownTexts.set(turn, text);
  }
  return text;
}

function saidText(said: Said): string {
  if (said === null) return "";
  if ("plain" in said) return said.plain;
  if ("json" in said) return said.json;
  const textOfPart = (part: Part): string => {
    if (part.type === "text" || part.type === "thinking") return part.text;
    if (part.type === "result") return part.parts.map(textOfPart).join("\n");
    const own = part.type === "call" ? `${part.name} ${part.text ?? ""}` : "";
    return part.node === null ? own : `${own} ${said.text.slice(part.node.start, part.node.end)}`;
  };
  return said.turn.parts.map(textOfPart).join("\n");
}

function matchesOf(turns: readonly SessionTurn[], wanted: string): number[] {
  if (wanted === "") return [];
  const words = lowered(wanted);
  return turns.flatMap((turn, index) => (shownText(turn).includes(words) ? [index] : []));
}

const HIGHLIGHTS_MAX = 1000;

/** Marks the wanted text where it is drawn, without another element. */
function useHighlight(box: { current: HTMLElement | null }, wanted: string, drawn: string): void {
  useEffect(() => {
    if (!("highlights" in CSS)) return;
    CSS.highlights.delete("found");
    if (wanted === "" || box.current === null) return;
    const words = lowered(wanted);
    const ranges: Range[] = [];
    const texts = document.createTreeWalker(box.current, NodeFilter.SHOW_TEXT);
    for (let node = texts.nextNode(); node !== null && ranges.length < HIGHLIGHTS_MAX; node = texts.nextNode()) {
      const text = lowered(node.nodeValue ?? "");
      for (let from = text.indexOf(words); from >= 0; from = text.indexOf(words, from + words.length)) {
        const range = new Range();
        range.setStart(node, from);
        range.setEnd(node, from + words.length);
        ranges.push(range);
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
    return () => void CSS.highlights.delete("found");
  }, [wanted, drawn]);
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
          <ScoreBadge key={score.name} score={score} />
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
