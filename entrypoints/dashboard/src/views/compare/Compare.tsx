/** Two traces side by side: their figures, their spans matched, and what a pair of spans says. */
import "../parts.ts";
import { useQuery } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { Failure, readText, requestText } from "../../api/client.ts";
import { project, projectId } from "../../api/session.ts";
import type { SpanDetailResponse } from "../../api/types.d.ts";
import { align, type Alignment } from "../../lib/align.ts";
import { differences, signed, type Difference } from "../../lib/compare.ts";
import { cost, costHint, count, duration, fullInstant, instant, NONE, plural } from "../../lib/format.ts";
import { childOf, rootOf } from "../../lib/payload/json-index.ts";
import { useCommands } from "../../lib/keys.ts";
import type { TraceOutline } from "../../lib/outline.ts";
import { keepMatches, visibleRows, type Tree } from "../../lib/tree.ts";
import { announce, Button, Empty, FailureBox, Guarded, Kind, Loading, Status, useTitle, Failed } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Diff } from "../../ui/payload/Diff.tsx";
import { gridHelp, handleGridKey } from "../../ui/table/grid-keys.ts";
import { LongText } from "../../ui/LongText.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { Splitter } from "../../ui/Splitter.tsx";
import { indexOf, ROW, useRowWindow } from "../../ui/table/useRowWindow.ts";
import { useUrlState, type UrlState } from "../../url/state.ts";
import { useOutline } from "../trace/useOutline.ts";
import { useCurl } from "../../ui/useCurl.ts";

const READ_BYTES = 2_000_000; // of each payload
const INDENT = 14; // of each level, where the grid is wide
const INDENTS = 90; // in the width of a narrower grid: a name of a deep span stays readable
const INDENT_LEVELS = 12;

interface Loaded {
  outline: TraceOutline;
  tree: Tree;
}

export function Compare({ left, right }: { left: string; right: string }): JSX.Element {
  const [a, b] = [useOutline(left), useOutline(right)];
  useTitle(a.outline && b.outline ? `${a.outline.trace.name} and ${b.outline.trace.name}` : "Comparison", "Comparison", project.value?.name);
  for (const [one, id] of [[a, left], [b, right]] as const) {
    if (!one.answer.isError || one.outline !== null) continue;
    const { error } = one.answer;
    if (!(error instanceof Failure && [404, 422].includes(error.status))) {
      return <FailureBox error={error} again={() => void one.answer.refetch()} />;
    }
    return (
      <Empty title="One of these traces isn’t here, or isn’t yours" isPage>
        <p>
          <code>{id}</code>
        </p>
        <Link href={projectPath("traces")}>All traces</Link>
      </Empty>
    );
  }
  if (!a.outline || !a.tree || !b.outline || !b.tree) return <Loading what="the traces" />;
  return <Sides left={{ outline: a.outline, tree: a.tree }} right={{ outline: b.outline, tree: b.tree }} ids={[left, right]} />;
}

function wordOf({ outline, tree }: Loaded): (row: number) => string {
  const [kind, name] = [outline.kinds, outline.names];
  return (row) => {
    const span = tree.span[row]!;
    return `${kind[outline.kind[span]!]} ${name[outline.name[span]!]}`;
  };
}

type State = "same" | "changed" | "left" | "right";

interface Pairs {
  found: Alignment;
  states: State[];
  notes: Difference[][]; // of each row
  counts: Record<State, number>;
}

function compared(left: Loaded, right: Loaded): Pairs {
  const found = align({ tree: left.tree, word: wordOf(left) }, { tree: right.tree, word: wordOf(right) });
  const states: State[] = [];
  const notes: Difference[][] = [];
  const counts = { same: 0, changed: 0, left: 0, right: 0 };
  for (let at = 0; at < found.size; at++) {
    const [a, b] = [found.left[at]!, found.right[at]!];
    const note = a < 0 || b < 0 ? [] : differences(left.outline, left.tree.span[a]!, right.outline, right.tree.span[b]!);
    const state = b < 0 ? "left" : a < 0 ? "right" : note.length > 0 || found.isMoved[at] ? "changed" : "same";
    states.push(state);
    notes.push(note);
    counts[state]++;
  }
  return { found, states, notes, counts };
}

interface SidesProps {
  left: Loaded;
  right: Loaded;
  ids: readonly [string, string];
}

function Sides({ left, right, ids }: SidesProps): JSX.Element {
  const url = useUrlState();
  const { params, update } = url;
  const [, navigate] = useLocation();
  const [share, setShare] = useState(56);
  const [box, setBox] = useState<HTMLDivElement | null>(null);
  const [collapsed, setCollapsed] = useState<ReadonlySet<number>>(new Set());
  const pairs = useMemo(() => compared(left, right), [left.tree, right.tree]);
  const { found, states, counts } = pairs;
  const onlyChanged = params.get("only") === "changed";
  const different = useMemo(() => rowsOf(found.size, (at) => states[at] !== "same"), [pairs]);
  const kept = useMemo(
    () => (onlyChanged ? keepMatches(found, (at) => states[at] !== "same") : null),
    [pairs, onlyChanged],
  );
  const rows = useMemo(() => visibleRows(found, collapsed, kept), [found, collapsed, kept]);
  const chosen = useMemo(() => rowOf(params.get("pair"), left, right, found), [params.get("pair"), found]);
  const select = useCallback(
    (at: number): void => {
      const [a, b] = [found.left[at] ?? -1, found.right[at] ?? -1];
      if (a >= 0) update({ pair: `l:${left.outline.span_id[left.tree.span[a]!]}` });
      else if (b >= 0) update({ pair: `r:${right.outline.span_id[right.tree.span[b]!]}` });
      setCollapsed((before) => withoutAncestors(found, before, at));
    },
    [found, update],
  );
  const step = (by: 1 | -1): void => {
    if (different.length === 0) return announce("There is no difference");
    const next = by > 0 ? (different.find((at) => at > chosen) ?? different[0]!) : (different.findLast((at) => at < chosen) ?? different.at(-1)!);
    select(next);
  };
  const swap = (): void => {
    const pair = params.get("pair");
    const query = new URLSearchParams(location.search);
    if (pair !== null && chosen >= 0) query.set("pair", swapped(found, chosen, left, right));
    navigate(`${projectPath(`compare/${ids[1]}/${ids[0]}`)}?${query}`, { replace: true });
  };
  const toggle = (at: number): void =>
    setCollapsed((before) => {
      const next = new Set(before);
      if (!next.delete(at)) next.add(at);
      return next;
    });
  const group = "Comparison";
  useCurl(group, "both traces", ids.map((id) => `traces/${id}`));
  useCommands([
    ...gridHelp(group),
    { keys: "]", label: "Next difference", group, run: () => step(1) },
    { keys: "[", label: "Previous difference", group, run: () => step(-1) },
    { keys: "d", label: "Only differences, or all spans", group, run: () => update({ only: onlyChanged ? null : "changed" }) },
    { keys: "x", label: "Swap the sides", group, run: swap },
    { keys: "Escape", label: "Back to the whole traces", group, hidden: true, run: () => update({ pair: null }) },
  ]);
  const counted = [
    counts.changed > 0 && `${count(counts.changed)} changed`,
    counts.left > 0 && `${count(counts.left)} only left`,
    counts.right > 0 && `${count(counts.right)} only right`,
  ].filter(Boolean);
  return (
    <div class="trace compare">
      <header class="trace-head">
        <div class="title">
          <Link href={projectPath("traces")} class="back">Traces /</Link>
          <h1>Comparison</h1>
          <span class="actions">
            <Button onClick={swap}>Swap sides</Button>
            <Button class={params.get("pair") === null ? "on" : ""} onClick={() => update({ pair: null }, { push: true })}>
              Whole traces
            </Button>
          </span>
        </div>
        <Figures left={left} right={right} ids={ids} />
      </header>
      <div class="split" ref={setBox} style={{ "--left": `${share}%` } as JSX.CSSProperties}>
        <Guarded name={`grid ${ids.join()}`}>
          <section class="spans" aria-label="Spans of both traces">
            <div class="toolbar">
              <span role="status">
                {counted.length === 0 ? `No difference in ${plural(counts.same, "span")}` : `${counted.join(", ")}, ${count(counts.same)} alike`}
              </span>
              <Button aria-pressed={onlyChanged} disabled={different.length === 0} onClick={() => update({ only: onlyChanged ? null : "changed" })}>
                Only differences
              </Button>
              <Button icon="left" label="Previous difference ([)" onClick={() => step(-1)} />
              <Button icon="right" label="Next difference (])" onClick={() => step(1)} />
              {found.isBounded && <span class="hint">Spans with very many children are matched by position.</span>}
            </div>
            <Grid left={left} right={right} pairs={pairs} rows={rows} collapsed={collapsed} isFiltered={onlyChanged} chosen={chosen} select={select} toggle={toggle} />
          </section>
        </Guarded>
        <Splitter label="Width of the spans" value={share} change={setShare} box={() => box} />
        <section class="side" aria-label="Comparison of the selection">
          <Guarded name={`pair ${params.get("pair")}`}>
            {chosen < 0 ? (
              <WholeTraces ids={ids} url={url} />
            ) : (
              <PairDetail key={params.get("pair")} at={chosen} left={left} right={right} ids={ids} pairs={pairs} url={url} />
            )}
          </Guarded>
        </section>
      </div>
    </div>
  );
}

function rowsOf(size: number, isWanted: (at: number) => boolean): number[] {
  return Array.from({ length: size }, (_, at) => at).filter(isWanted);
}

function rowOf(pair: string | null, left: Loaded, right: Loaded, found: Alignment): number {
  if (pair === null) return -1;
  const [side, rows] = pair.startsWith("l:") ? ([left, found.left] as const) : ([right, found.right] as const);
  const span = side.outline.span_id.indexOf(pair.slice(2));
  return span < 0 ? -1 : rows.indexOf(side.tree.row[span]!);
}

/** How the address names the row after the sides were swapped. */
function swapped(found: Alignment, at: number, left: Loaded, right: Loaded): string {
  const [a, b] = [found.left[at]!, found.right[at]!];
  return b >= 0 ? `l:${right.outline.span_id[right.tree.span[b]!]}` : `r:${left.outline.span_id[left.tree.span[a]!]}`;
}

function withoutAncestors(found: Alignment, collapsed: ReadonlySet<number>, row: number): ReadonlySet<number> {
  const next = new Set(collapsed);
  for (let at = found.parent[row] ?? -1; at >= 0; at = found.parent[at]!) next.delete(at);
  return next.size === collapsed.size ? collapsed : next;
}

function Figures({ left, right, ids }: SidesProps): JSX.Element {
  const [a, b] = [left.outline.trace, right.outline.trace];
  const [freeA, freeB] = [a.unpriced_span_count, b.unpriced_span_count];
  const failed = (one: Loaded): number => one.outline.has_error.filter(Boolean).length;
  const priced = freeA === 0 && freeB === 0;
  const rows: [string, JSX.Element | string, JSX.Element | string, string | null][] = [
    ["Started", <Started key="a" at={a.started_at} />, <Started key="b" at={b.started_at} />, signed(Date.parse(a.started_at), Date.parse(b.started_at), duration)],
    ["Status", <Status key="a" value={a.status} />, <Status key="b" value={b.status} />, a.status === b.status ? "" : "differs"],
    ["Latency", duration(a.latency_ms), duration(b.latency_ms), signed(a.latency_ms, b.latency_ms, duration)],
    ["Spans", count(left.outline.total), count(right.outline.total), signed(left.outline.total, right.outline.total, count)],
    ["Failed spans", count(failed(left)), count(failed(right)), signed(failed(left), failed(right), count)],
    ["Tokens", count(a.total_tokens), count(b.total_tokens), signed(a.total_tokens, b.total_tokens, count)],
    [
      "Cost",
      <span key="a" title={costHint(a.total_cost, freeA)}>{cost(a.total_cost, freeA)}</span>,
      <span key="b" title={costHint(b.total_cost, freeB)}>{cost(b.total_cost, freeB)}</span>,
      priced ? signed(a.total_cost, b.total_cost, cost) : null,
    ],
    ["Environment", a.environment ?? NONE, b.environment ?? NONE, a.environment === b.environment ? "" : "differs"],
    ["Release", a.release ?? NONE, b.release ?? NONE, a.release === b.release ? "" : "differs"],
  ];
  return (
    <div class="figures" tabIndex={0} role="region" aria-label="Figures of both traces">
      <table class="plain-table">
        <thead>
          <tr>
            <th scope="col"><span class="sr">Trace</span></th>
            {rows.map(([name]) => <th scope="col" key={name} class={columnOf(name)}>{name}</th>)}
          </tr>
        </thead>
        <tbody>
          {([left, right] as const).map((side, index) => (
            <tr key={index}>
              <th scope="row" title={side.outline.trace.name}>
                <small>{index === 0 ? "left" : "right"}</small>{" "}
                <Link href={`${projectPath("traces")}/${ids[index]}`}>{side.outline.trace.name}</Link>
              </th>
              {rows.map((row) => <td key={row[0]} class={columnOf(row[0])}>{row[index + 1]}</td>)}
            </tr>
          ))}
          <tr>
            <th scope="row">Difference</th>
            {rows.map(([name, , , difference]) => (
              <td key={name} class={columnOf(name)}>{difference ?? <span class="none" title="Only known figures are compared">{NONE}</span>}</td>
            ))}
          </tr>
        </tbody>
      </table>
    </div>
  );
}

function columnOf(name: string): string {
  return ["Latency", "Spans", "Failed spans", "Tokens", "Cost"].includes(name) ? "c-number" : "";
}

function Started({ at }: { at: string }): JSX.Element {
  return <time dateTime={at} title={fullInstant(at)}>{instant(at)}</time>;
}

const MARKS: Record<State, string> = { same: "", changed: "≠", left: "−", right: "+" };
const MARK_WORDS: Record<State, string> = { same: "alike", changed: "changed", left: "only left", right: "only right" };

interface GridProps {
  left: Loaded;
  right: Loaded;
  pairs: Pairs;
  rows: Int32Array;
  collapsed: ReadonlySet<number>;
  isFiltered: boolean;
  chosen: number;
  select: (at: number) => void;
  toggle: (at: number) => void;
}

function Grid(props: GridProps): JSX.Element {
  const { pairs, rows, chosen, select, toggle, collapsed, isFiltered } = props;
  const { found } = pairs;
  const at = useMemo(() => indexOf(rows, chosen), [rows, chosen]);
  const { box, first, last, blocks, shift, scrolled, view } = useRowWindow(rows, at);
  const indent = Math.min(INDENT, Math.floor(view.width / INDENTS));
  useEffect(() => box.current?.focus({ preventScroll: true }), []);
  const onKey = (event: KeyboardEvent): void =>
    handleGridKey(event, { rows, tree: found, chosen, collapsed, isFiltered, height: view.height, select, toggle });
  return (
    <div
      class="treegrid pairs"
      ref={box}
      role="treegrid"
      tabIndex={0}
      aria-label="Spans of both traces"
      aria-rowcount={rows.length + 1}
      aria-activedescendant={at >= first && at < last ? `pair-${chosen}` : undefined}
      onKeyDown={onKey}
    >
      <div class="tg-head" role="row" aria-rowindex={1}>
        <div role="columnheader" class="tg-name">Span</div>
        <div role="columnheader" class="tg-number">Left</div>
        <div role="columnheader" class="tg-number">Right</div>
        <div role="columnheader" class="tg-note">Difference</div>
      </div>
      <div class="tg-body" role="rowgroup" style={{ height: `${scrolled}px` }}>
        {blocks.map(({ key, from, to }) => (
          <div key={key} class="tg-block" role="presentation" style={{ top: `${from * ROW + shift}px`, height: `${(to - from) * ROW}px` }}>
            {Array.from(rows.subarray(from, to), (row, at) => <PairRow key={at} {...props} row={row} index={from + at} indent={indent} />)}
          </div>
        ))}
      </div>
      {rows.length === 0 && <p class="hint">{isFiltered ? "There is no difference." : "Neither trace has a span yet."}</p>}
    </div>
  );
}

function PairRow(props: GridProps & { row: number; index: number; indent: number }): JSX.Element {
  const { left, right, pairs, row, index, chosen, collapsed, isFiltered } = props;
  const { found, states, notes } = pairs;
  const [a, b] = [found.left[row]!, found.right[row]!];
  const [side, own] = a >= 0 ? [left, a] as const : [right, b] as const;
  const span = side.tree.span[own]!;
  const name = side.outline.names[side.outline.name[span]!] ?? "";
  const state = states[row]!;
  const depth = found.depth[row]!;
  const hasChildren = found.extent[row]! > 1;
  const isOpen = isFiltered || !collapsed.has(row);
  const failed = (one: Loaded, at: number): boolean => at >= 0 && one.outline.has_error[one.tree.span[at]!] === true;
  const latency = (one: Loaded, at: number): JSX.Element | string =>
    at < 0 ? <span class="none">{NONE}</span> : duration(inMs(one.outline.latency_us[one.tree.span[at]!]));
  const note = noteOf(props, row);
  return (
    <div
      id={`pair-${row}`}
      class={`tg-row p-${state} ${row === chosen ? "at" : ""} ${failed(left, a) || failed(right, b) ? "failed" : ""}`}
      role="row"
      aria-level={depth + 1}
      aria-expanded={hasChildren ? isOpen : undefined}
      aria-selected={row === chosen}
      aria-rowindex={index + 2}
      onClick={() => props.select(row)}
    >
      <div class="tg-name" role="gridcell" style={{ paddingLeft: `${4 + Math.min(depth, INDENT_LEVELS) * props.indent}px` }}>
        <span class="pair-mark" role="img" aria-label={MARK_WORDS[state]} title={MARK_WORDS[state]}>{MARKS[state]}</span>
        <span
          class={`toggle ${hasChildren ? "" : "leaf"}`}
          aria-hidden="true"
          onClick={(event) => {
            if (!hasChildren) return;
            event.stopPropagation();
            props.toggle(row);
          }}
        >
          {hasChildren ? (isOpen ? "▾" : "▸") : ""}
        </span>
        {depth > INDENT_LEVELS && <small class="depth">{depth}</small>}
        <Kind value={side.outline.kinds[side.outline.kind[span]!] ?? "OTHER"} />
        <span class="tg-text" title={name}>{name}</span>
      </div>
      <div class="tg-number" role="gridcell">{latency(left, a)}{failed(left, a) && <FailedMark />}</div>
      <div class="tg-number" role="gridcell">{latency(right, b)}{failed(right, b) && <FailedMark />}</div>
      <div class="tg-note" role="gridcell" title={notes[row]!.join(", ")}>{note}</div>
    </div>
  );
}

function FailedMark(): JSX.Element {
  return <span class="mark-failed" role="img" aria-label="failed" title="failed"> ✕</span>;
}

function inMs(us: number | null | undefined): number | null {
  return us == null ? null : us / 1000;
}

/** The differences of a pair in a few words. */
function noteOf({ left, right, pairs }: GridProps, row: number): string {
  const { found, states, notes } = pairs;
  if (states[row] === "left" || states[row] === "right") return MARK_WORDS[states[row]];
  const [a, b] = [left.tree.span[found.left[row]!]!, right.tree.span[found.right[row]!]!];
  const words = notes[row]!.map((one) => {
    if (one === "latency") return signed(inMs(left.outline.latency_us[a]), inMs(right.outline.latency_us[b]), duration) ?? "latency";
    if (one === "tokens") return `${signed(left.outline.tokens[a], right.outline.tokens[b], count)} tokens`;
    if (one === "cost") return signed(left.outline.cost[a], right.outline.cost[b], cost) ?? "cost";
    return one;
  });
  return [found.isMoved[row] ? "at another place" : "", ...words].filter(Boolean).join(" · ");
}

interface Said {
  value: SpanDetailResponse;
  input: string | null;
  output: string | null;
  isCut: boolean;
}

/** A span with its payloads as they were stored; long ones are read apart. */
function useSpan(trace: string, span: string | null) {
  const path = `traces/${trace}/spans/${span}`;
  return useQuery<Said>({
    queryKey: [projectId.value, path, "said"],
    enabled: span !== null,
    queryFn: async ({ signal }) => {
      const text = await requestText(path, { payloads: "preview" }, signal);
      const value = JSON.parse(text) as SpanDetailResponse;
      const root = rootOf(text);
      let isCut = false;
      const payload = async (name: "input" | "output"): Promise<string | null> => {
        const node = childOf(text, root, name);
        if (value[`${name}_preview`] === null) return node ? text.slice(node.start, node.end) : null;
        const part = await readText(`${path}/${name}`, { maxBytes: READ_BYTES, signal });
        isCut ||= !part.isWhole;
        return part.text;
      };
      return { value, input: await payload("input"), output: await payload("output"), isCut };
    },
  });
}

interface PairDetailProps extends SidesProps {
  at: number;
  pairs: Pairs;
  url: UrlState;
}

function PairDetail({ at, left, right, ids, pairs, url }: PairDetailProps): JSX.Element {
  const { found } = pairs;
  const [a, b] = [found.left[at]!, found.right[at]!];
  const idOf = (one: Loaded, row: number): string | null => (row < 0 ? null : (one.outline.span_id[one.tree.span[row]!] ?? null));
  const [idA, idB] = [idOf(left, a), idOf(right, b)];
  const answers = [useSpan(ids[0], idA), useSpan(ids[1], idB)] as const;
  const [one, other] = [answers[0].data, answers[1].data];
  const failure = answers.find((answer) => answer.isError);
  if (failure) return <Failed of={failure} />;
  if ((idA !== null && !one) || (idB !== null && !other)) return <Loading what="both spans" />;
  const either = (one ?? other)!.value;
  const link = (trace: string, span: string | null, word: string): JSX.Element =>
    span === null ? <span class="none">not there</span> : <Link href={`${projectPath("traces")}/${trace}?span=${span}`}>{word}</Link>;
  const facts: [string, string, string][] = [
    ["Status", statusOf(one), statusOf(other)],
    ["Duration", durationOf(one), durationOf(other)],
    ["Model", one ? (one.value.model ?? NONE) : "", other ? (other.value.model ?? NONE) : ""],
    ["Cost", one ? cost(costOf(left, a)) : "", other ? cost(costOf(right, b)) : ""],
    ["Tokens", one ? count(tokensOf(left, a)) : "", other ? count(tokensOf(right, b)) : ""],
  ];
  const as = url.params.get("as");
  const choose = (next: string): void => url.update({ as: next });
  return (
    <div class="detail">
      <header>
        <h2>
          <Kind value={either.kind} /> {either.name}
        </h2>
      </header>
      <table class="plain-table" aria-label="Figures of both spans">
        <thead>
          <tr>
            <th scope="col"><span class="sr">Figure</span></th>
            <th scope="col">{link(ids[0], idA, "Left")}</th>
            <th scope="col">{link(ids[1], idB, "Right")}</th>
          </tr>
        </thead>
        <tbody>
          {facts.map(([name, first, second]) => (
            <tr key={name} class={one && other && first !== second ? "differs" : ""}>
              <th scope="row">{name}</th>
              <td>{first}</td>
              <td>{second}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {[one, other].map(
        (said, index) =>
          said?.value.error != null && (
            <div class="error-text" role="group" aria-label={`Error, ${index === 0 ? "left" : "right"}`} key={index}>
              <strong>Error, {index === 0 ? "left" : "right"}</strong>
              <pre tabIndex={0}><LongText text={said.value.error} /></pre>
            </div>
          ),
      )}
      <Diff label="Input" left={one?.input ?? null} right={other?.input ?? null} as={as} choose={choose} />
      <Diff label="Output" left={one?.output ?? null} right={other?.output ?? null} as={as} choose={choose} />
      {(one?.isCut || other?.isCut) && <p class="hint">Only the first 2 MB of each payload are compared.</p>}
    </div>
  );
}

function statusOf(said: Said | undefined): string {
  return said ? said.value.status.toLowerCase() : "";
}

function durationOf(said: Said | undefined): string {
  return said ? duration(said.value.latency_ms) : "";
}

function costOf({ outline, tree }: Loaded, row: number): number | null {
  return outline.cost[tree.span[row]!] ?? null;
}

function tokensOf({ outline, tree }: Loaded, row: number): number | null {
  return outline.tokens[tree.span[row]!] ?? null;
}

/** The payload of a trace, or null if it has none. */
function useTracePayload(trace: string, part: "input" | "output") {
  const path = `traces/${trace}/${part}`;
  return useQuery<string | null>({
    queryKey: [projectId.value, path, "said"],
    queryFn: async ({ signal }) => {
      try {
        return (await readText(path, { maxBytes: READ_BYTES, signal })).text;
      } catch (error) {
        if (error instanceof Failure && error.status === 404) return null;
        throw error;
      }
    },
  });
}

function WholeTraces({ ids, url }: { ids: readonly [string, string]; url: UrlState }): JSX.Element {
  const answers = {
    Input: [useTracePayload(ids[0], "input"), useTracePayload(ids[1], "input")],
    Output: [useTracePayload(ids[0], "output"), useTracePayload(ids[1], "output")],
  };
  return (
    <div class="detail">
      <header>
        <h2>The whole traces</h2>
      </header>
      {Object.entries(answers).map(([label, [one, other]]) => {
        const failure = [one!, other!].find((answer) => answer.isError);
        if (failure) return <FailureBox key={label} error={failure.error} again={() => void failure.refetch()} />;
        if (one!.data === undefined || other!.data === undefined) return <Loading key={label} what={label.toLowerCase()} />;
        return (
          <Diff key={label} label={label} left={one!.data} right={other!.data} as={url.params.get("as")} choose={(as) => url.update({ as })} />
        );
      })}
    </div>
  );
}
