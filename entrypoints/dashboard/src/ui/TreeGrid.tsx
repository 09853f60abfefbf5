/** The tree of a trace and its waterfall in one treegrid, of which only rows in sight are drawn. */
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { cost, count, duration } from "../lib/format.ts";
import type { TraceOutline } from "../lib/outline.ts";
import { ticks } from "../lib/scale.ts";
import type { Tree } from "../lib/tree.ts";
import { Kind } from "./basics.tsx";

const ROW = 26;
const MARGIN = 6;
const HEIGHT_MAX = 8_000_000; // browsers can't scroll much more
const INDENT = 14;
const INDENT_MIN = 3;
const NAME_MIN = 150; // what is left for a name at any depth,
const NAME_SHARE_MIN = 0.65; // and of a narrow column
const NARROW = 620; // as in the style: below it there are fewer columns
const NARROW_SHARE = 46; // percent
const LEVELS_ABOVE = 3; // of deep rows, whose indent begins with the least deep one in sight
const DEPTH_SHOWN_FROM = 20;

export interface Zoom {
  from: number;
  to: number;
}

export interface TreeGridProps {
  outline: TraceOutline;
  tree: Tree;
  rows: Int32Array; // that are shown
  collapsed: ReadonlySet<number>;
  isFiltered: boolean;
  matches: Uint8Array | null;
  selected: number; // a row of the tree, or -1
  critical: ReadonlySet<number> | null;
  zoom: Zoom;
  showBars: boolean;
  nameShare: number; // percent
  select: (row: number) => void;
  toggle: (row: number) => void;
  onKey: (event: KeyboardEvent) => void;
  fit: (row: number) => void;
}

export function TreeGrid(props: TreeGridProps): JSX.Element {
  const { tree, rows, selected, zoom } = props;
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600, width: 900 });
  const height = rows.length * ROW;
  const scrolled = Math.min(height, HEIGHT_MAX);
  const factor = scrolled > view.height ? (height - view.height) / (scrolled - view.height) : 1;
  const offset = Math.max(0, view.top * factor);
  const first = Math.max(0, Math.floor(offset / ROW) - MARGIN);
  const last = Math.min(rows.length, Math.ceil((offset + view.height) / ROW) + MARGIN);
  const at = useMemo(() => indexOf(rows, selected), [rows, selected]);
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const measure = (): void =>
      setView({ top: element.scrollTop, height: element.clientHeight, width: element.clientWidth });
    element.addEventListener("scroll", measure, { passive: true });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => {
      element.removeEventListener("scroll", measure);
      observer.disconnect();
    };
  }, []);
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null || at < 0) return;
    const head = ROW + 4;
    const top = at * ROW;
    const low = element.scrollTop * factor;
    const high = low + element.clientHeight - head;
    if (top < low) element.scrollTop = top / factor;
    else if (top + ROW > high) element.scrollTop = (top + ROW - element.clientHeight + head) / factor;
  }, [at, rows]);
  const shift = view.top - offset; // of rows, where the scrolled height is capped
  const marks = useMemo(() => ticks(zoom.from, zoom.to, view.width > 700 ? 6 : 3), [zoom, view.width]);
  const place = (us: number): number => ((us - zoom.from) / (zoom.to - zoom.from)) * 100;
  let [least, most] = [Infinity, 0];
  for (let index = first; index < last; index++) {
    const depth = tree.depth[rows[index]!]!;
    [least, most] = [Math.min(least, depth), Math.max(most, depth)];
  }
  const base = Math.max(0, least - LEVELS_ABOVE);
  const share = view.width < NARROW ? Math.max(props.nameShare, NARROW_SHARE) : props.nameShare;
  const names = (view.width * (props.showBars ? share : NARROW_SHARE)) / 100;
  const room = names - Math.min(NAME_MIN, names * NAME_SHARE_MIN);
  const step = Math.max(INDENT_MIN, Math.min(INDENT, room / Math.max(1, most - base)));
  const indent = (depth: number): number => Math.min((depth - base) * step, room);
  const shown: JSX.Element[] = [];
  for (let index = first; index < last; index++) {
    const row = rows[index]!;
    shown.push(<Row key={row} {...props} row={row} index={index} top={index * ROW + shift} place={place} indent={indent} />);
  }
  return (
    <div
      class={`treegrid ${props.showBars ? "" : "no-bars"}`}
      ref={box}
      role="treegrid"
      tabIndex={0}
      aria-label="Spans"
      aria-rowcount={rows.length + 1}
      aria-activedescendant={at >= first && at < last ? `span-${selected}` : undefined}
      style={{ "--name": `${share}%` } as JSX.CSSProperties}
      onKeyDown={props.onKey}
    >
      <div class="tg-head" role="row" aria-rowindex={1}>
        <div role="columnheader" class="tg-name">Span</div>
        <div role="columnheader" class="tg-number">Duration</div>
        <div role="columnheader" class="tg-number tg-wide">Tokens</div>
        <div role="columnheader" class="tg-number tg-wide">Cost</div>
        {props.showBars && (
          <div role="columnheader" class="tg-time" aria-label="Time">
            {marks.map((us) => (
              <span key={us} class="tick" style={{ left: `${place(us)}%` }}>
                {duration(us / 1000)}
              </span>
            ))}
          </div>
        )}
      </div>
      <div class="tg-body" role="rowgroup" style={{ height: `${scrolled}px` }}>
        {shown}
      </div>
      {tree.size === 0 && <p class="hint">This trace has no span yet.</p>}
    </div>
  );
}

/** Rows are in ascending order. */
function indexOf(rows: Int32Array, row: number): number {
  let [low, high] = [0, rows.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const found = rows[middle]!;
    if (found === row) return middle;
    if (found < row) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

type RowProps = TreeGridProps & { row: number; index: number; top: number; place: (us: number) => number; indent: (depth: number) => number };

function Row(props: RowProps): JSX.Element {
  const { outline, tree, row, index, top, selected, critical, matches } = props;
  const span = tree.span[row]!;
  const depth = tree.depth[row]!;
  const hasChildren = tree.extent[row]! > 1;
  const isOpen = props.isFiltered || !props.collapsed.has(row);
  const name = outline.names[outline.name[span]!] ?? "";
  const kind = outline.kinds[outline.kind[span]!] ?? "OTHER";
  const failed = outline.has_error[span] ?? false;
  const latency = outline.latency_us[span] ?? null;
  const classes = [
    "tg-row",
    row === selected ? "at" : "",
    failed ? "failed" : "",
    critical !== null && !critical.has(row) ? "off-path" : "",
    matches !== null && matches[row] === 1 ? "ancestor" : "",
  ];
  return (
    <div
      id={`span-${row}`}
      class={classes.join(" ")}
      role="row"
      aria-level={depth + 1}
      aria-posinset={tree.position[row]}
      aria-setsize={tree.siblings[row]}
      aria-expanded={hasChildren ? isOpen : undefined}
      aria-selected={row === selected}
      aria-rowindex={index + 2}
      style={{ transform: `translateY(${top}px)` }}
      onClick={() => props.select(row)}
      onDblClick={() => props.fit(row)}
    >
      <div class="tg-name" role="gridcell" style={{ paddingLeft: `${4 + props.indent(depth)}px` }}>
        {depth > DEPTH_SHOWN_FROM && <small class="depth">{depth}</small>}
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
        <Kind value={kind} />
        <span class="tg-text" title={name}>
          {name}
        </span>
        {failed && (
          <span class="mark-failed" role="img" aria-label="failed" title="failed">
            ✕
          </span>
        )}
        {tree.isOrphan[row] === 1 && <small class="lost">parent not received</small>}
        {hasChildren && !isOpen && <small class="folded">+{count(tree.extent[row]! - 1)}</small>}
      </div>
      <div class="tg-number" role="gridcell">
        {latency === null ? (tree.isOpen[row] === 1 ? "…" : "—") : duration(latency / 1000)}
      </div>
      <div class="tg-number tg-wide" role="gridcell">
        {outline.tokens[span] ? count(outline.tokens[span]) : ""}
      </div>
      <div class="tg-number tg-wide" role="gridcell">
        {outline.cost[span] == null ? "" : outline.cost[span] === 0 ? "" : cost(outline.cost[span])}
      </div>
      {props.showBars && <Bar {...props} span={span} kind={kind} failed={failed} />}
    </div>
  );
}

function Bar(props: RowProps & { span: number; kind: string; failed: boolean }): JSX.Element {
  const { outline, tree, row, span, place, zoom } = props;
  const isOpen = tree.isOpen[row] === 1;
  const start = tree.start[row]!;
  const end = isOpen ? Math.max(tree.to, start) : tree.end[row]!;
  const left = place(start);
  const right = place(end);
  const firstToken = outline.first_token_us[span];
  const isOutside = right < 0 || left > 100;
  const visibleLeft = Math.max(-1, left);
  const width = Math.max(0, Math.min(101, right) - visibleLeft);
  const share = (end - start) / (zoom.to - zoom.from);
  return (
    <div class="tg-time" role="gridcell" aria-label={`starts after ${duration(start / 1000)}`}>
      {!isOutside && (
        <span
          class={`tg-bar k-${props.kind} ${props.failed ? "bad" : ""} ${isOpen ? "running" : ""}`}
          style={{ left: `${visibleLeft}%`, width: `${width}%` }}
          title={`${duration(start / 1000)} → ${duration(end / 1000)}`}
        />
      )}
      {!isOutside && firstToken != null && share > 0.01 && (
        <span class="first-token" style={{ left: `${place(start + firstToken)}%` }} title={`first token after ${duration(firstToken / 1000)}`} />
      )}
    </div>
  );
}
