/** The tree of a trace and its waterfall in one treegrid, of which only rows in sight are drawn. */
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { cost, count, duration } from "../../lib/format.ts";
import type { TraceOutline } from "../../lib/outline.ts";
import type { TimeScale } from "../../lib/chart/scale.ts";
import { selfTimes, type Tree } from "../../lib/tree.ts";
import { Kind } from "../basics.tsx";
import { kept } from "../kept.ts";
import { BLOCK, indexOf, ROW, SETTLED_MS, useRowWindow } from "./useRowWindow.ts";

const INDENT = 14;
const INDENT_MIN = 3;
const NAME_MIN = 150; // what is left for a name at any depth,
const NAME_SHARE_MIN = 0.65; // and of a narrow column
const NARROW = 620; // as in the style: below it there are fewer columns
const NARROW_SHARE = 46; // percent
const NUMBERS = 210; // width of the columns of numbers, as in the style
const NUMBERS_NARROW = 70;
const TICK = 70; // the least width from one tick to the next
const TOGGLE = 21; // width of its mark and of the gap, as in the style
const LEVELS_ABOVE = 3; // of deep rows, whose indent begins with the least deep one in sight
const DEPTH_SHOWN_FROM = 20;

export interface Zoom {
  from: number;
  to: number;
}

interface TreeGridProps {
  outline: TraceOutline;
  tree: Tree;
  rows: Int32Array; // that are shown
  collapsed: ReadonlySet<number>;
  isFiltered: boolean;
  matches: Uint8Array | null;
  selected: number; // a row of the tree, or -1
  critical: ReadonlySet<number> | null;
  zoom: Zoom;
  scale: TimeScale;
  showBars: boolean;
  nameShare: number; // percent
  select: (row: number) => void;
  toggle: (row: number) => void;
  onKey: (event: KeyboardEvent) => void;
  fit: (row: number) => void;
  scaleAt: (us: number, factor: number) => void;
}

const WHEEL_FACTOR = 1.25;

export function TreeGrid(props: TreeGridProps): JSX.Element {
  const { tree, rows, selected, zoom } = props;
  const at = useMemo(() => indexOf(rows, selected), [rows, selected]);
  const { box, view, first, last, blocks, shift, scrolled } = useRowWindow(rows, at);
  const { scale } = props;
  const [low, high] = [scale.place(zoom.from), scale.place(zoom.to)];
  const place = (us: number): number => ((scale.place(us) - low) / (high - low)) * 100;
  const folds = scale.gaps.map((gap) => ({ ...gap, left: place(gap.from), right: place(gap.to) })).filter((one) => one.right > 0 && one.left < 100);
  const share = view.width < NARROW ? Math.max(props.nameShare, NARROW_SHARE) : props.nameShare;
  const names = (view.width * (props.showBars ? share : NARROW_SHARE)) / 100;
  const barsWidth = view.width - names - (view.width < NARROW ? NUMBERS_NARROW : NUMBERS);
  const marks = useMemo(
    () => scale.ticks(zoom.from, zoom.to, Math.max(2, Math.min(8, Math.floor(barsWidth / TICK)))),
    [zoom, scale, barsWidth],
  );
  const room = names - Math.min(NAME_MIN, names * NAME_SHARE_MIN);
  let [least, deepest] = [Infinity, 0];
  for (let index = first; index < last; index++) {
    const depth = tree.depth[rows[index]!]!;
    [least, deepest] = [Math.min(least, depth), Math.max(deepest, depth)];
  }
  // Where all rows would move, they don't with each one that comes.
  const shownFrom = Math.max(0, least - LEVELS_ABOVE);
  const fitting = Math.max(INDENT_MIN, Math.min(INDENT, Math.floor(room / Math.max(1, deepest - shownFrom))));
  const [base, step] = useSeldom(`${shownFrom} ${fitting}`, first, last - first).split(" ").map(Number) as [number, number];
  const axis = useRef<HTMLDivElement>(null);
  const onWheel = useRef<(event: WheelEvent) => void>(() => {});
  onWheel.current = (event) => {
    const line = axis.current?.getBoundingClientRect();
    if (!event.ctrlKey || line === undefined || event.clientX < line.left) return;
    event.preventDefault(); // else the browser zooms the page
    const share = (event.clientX - line.left) / line.width;
    props.scaleAt(scale.instant(low + share * (high - low)), event.deltaY < 0 ? 1 / WHEEL_FACTOR : WHEEL_FACTOR);
  };
  useEffect(() => {
    const element = box.current;
    const listen = (event: WheelEvent): void => onWheel.current(event);
    element?.addEventListener("wheel", listen, { passive: false });
    return () => element?.removeEventListener("wheel", listen);
  }, []);
  const onClick = (event: MouseEvent): void =>
    withRow(event, (row) => {
      const isToggle = (event.target as Element).closest(".toggle") !== null;
      if (isToggle && tree.extent[row]! > 1) props.toggle(row);
      else props.select(row);
    });
  const { outline, collapsed, isFiltered, matches, critical, showBars } = props;
  const look = useMemo<Look>(
    () => ({
      outline,
      tree,
      rows,
      padding: (depth) => 4 + Math.max(0, Math.min((depth - base) * step, room)),
      isOpen: (row) => isFiltered || !collapsed.has(row),
      isOffPath: (row) => critical !== null && !critical.has(row),
      isAncestor: (row) => matches?.[row] === 1,
      own: showBars ? null : selfTimes(tree),
      place: showBars ? (us) => ((scale.place(us) - low) / (high - low)) * 100 : null,
    }),
    [outline, tree, rows, base, step, room, isFiltered, collapsed, critical, matches, showBars, scale, low, high],
  );
  return (
    <div
      class={`treegrid ${props.showBars ? "" : "no-bars"}`}
      ref={box}
      role="treegrid"
      tabIndex={0}
      aria-label="Spans"
      aria-rowcount={rows.length + 1}
      aria-activedescendant={at >= first && at < last ? `span-${selected}` : undefined}
      style={{ "--name": `${share}%`, "--folds": bands(folds) } as JSX.CSSProperties}
      onKeyDown={props.onKey}
    >
      <div class="tg-head" role="row" aria-rowindex={1}>
        <div role="columnheader" class="tg-name">Span</div>
        <div role="columnheader" class="tg-number">Duration</div>
        {!props.showBars && <div role="columnheader" class="tg-number tg-self" title="Its duration without the time of its children">Self</div>}
        <div role="columnheader" class="tg-number tg-wide">Tokens</div>
        <div role="columnheader" class="tg-number tg-wide">Cost</div>
        {props.showBars && (
          <div role="columnheader" class="tg-time" aria-label="Time" ref={axis}>
            {tree.size > 0 && marks.map((us) => (
              <span key={us} class={`tick${place(us) > 85 ? " end" : ""}`} style={{ left: `${place(us)}%` }}>
                {duration(us / 1000)}
              </span>
            ))}
            {folds.map((one) => (
              <span
                key={one.from}
                class="fold"
                title={`${duration((one.to - one.from) / 1000)} without activity, folded`}
                style={{ left: `${one.left}%`, width: `${one.right - one.left}%` }}
              />
            ))}
          </div>
        )}
      </div>
      <div class="tg-body" role="rowgroup" style={{ height: `${scrolled}px` }} onClick={onClick} onDblClick={(event) => withRow(event, props.fit)}>
        {blocks.map(({ key, from, to }) => (
          <Rows key={key} look={look} from={from} to={to} top={from * ROW + shift} selected={at >= from && at < to ? selected : -1} />
        ))}
      </div>
      {tree.size === 0 && <p class="hint loading">This trace has no spans.</p>}
    </div>
  );
}

/** Folded stretches as bands behind the bars of all rows. */
function bands(folds: readonly { left: number; right: number }[]): string {
  if (folds.length === 0) return "none";
  const stops = folds.map(({ left, right }) => `transparent ${left}%, var(--bg-3) ${left}% ${right}%, transparent ${right}%`);
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}

/** Calls `act` with the row of the tree that was pressed. */
function withRow(event: MouseEvent, act: (row: number) => void): void {
  const id = (event.target as Element).closest(".tg-row")?.id;
  if (id !== undefined) act(Number(id.slice("span-".length)));
}

const SCROLLED_MAX = 5; // times

/** Follows a value at once; while one scrolls, each sixth time, and once scrolling has stopped. */
function useSeldom(value: string, first: number, rows: number): string {
  const { current: shown } = useRef({ value, first, times: 0 });
  const [, again] = useState(0);
  const moved = Math.abs(first - shown.first);
  shown.first = first;
  const isScrolled = moved > 0 && moved < rows; // else it was folded, or led elsewhere
  if (!isScrolled || ++shown.times > SCROLLED_MAX) Object.assign(shown, { value, times: 0 });
  const isLate = shown.value !== value;
  useEffect(() => {
    if (!isLate) return;
    const timer = setTimeout(() => again((n) => n + 1), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [value, isLate]);
  return shown.value;
}

/** What all rows are drawn by. */
interface Look {
  outline: TraceOutline;
  tree: Tree;
  rows: Int32Array;
  padding: (depth: number) => number; // px before the name
  isOpen: (row: number) => boolean;
  isOffPath: (row: number) => boolean;
  isAncestor: (row: number) => boolean; // it doesn't match, but a span below it does
  own: Float64Array | null; // µs of a row without its children; null if it isn't shown
  place: ((us: number) => number) | null; // on the axis, in percent; null if no bars are shown
}

interface RowsProps {
  look: Look;
  from: number;
  to: number;
  top: number; // px
  selected: number; // if it is one of these
}

const Rows = kept(({ look, from, to, top, selected }: RowsProps): JSX.Element => {
  const rows: JSX.Element[] = [];
  for (let index = from; index < to; index++) rows.push(rowOf(look, index, selected));
  return (
    <div class="tg-block" role="presentation" style={{ top: `${top}px`, height: `${(to - from) * ROW}px` }}>
      {rows}
    </div>
  );
});

function rowOf(look: Look, index: number, selected: number): JSX.Element {
  const { outline, tree, place } = look;
  const row = look.rows[index]!;
  const span = tree.span[row]!;
  const depth = tree.depth[row]!;
  const hasChildren = tree.extent[row]! > 1;
  const isOpen = look.isOpen(row);
  const name = outline.names[outline.name[span]!] ?? "";
  const kind = outline.kinds[outline.kind[span]!] ?? "OTHER";
  const failed = outline.has_error[span] ?? false;
  const latency = outline.latency_us[span] ?? null;
  let classes = "tg-row";
  if (row === selected) classes += " at";
  if (failed) classes += " failed";
  if (look.isOffPath(row)) classes += " off-path";
  if (look.isAncestor(row)) classes += " ancestor";
  return (
    <div
      key={index % BLOCK}
      id={`span-${row}`}
      class={classes}
      role="row"
      aria-level={depth + 1}
      aria-posinset={tree.position[row]}
      aria-setsize={tree.siblings[row]}
      aria-expanded={hasChildren ? isOpen : undefined}
      aria-selected={row === selected}
      aria-rowindex={index + 2}
    >
      <div class="tg-name" role="gridcell" style={{ paddingLeft: `${look.padding(depth) + (hasChildren ? 0 : TOGGLE)}px` }}>
        {depth > DEPTH_SHOWN_FROM && <small class="depth">{depth}</small>}
        {hasChildren && (
          <span class="toggle" aria-hidden="true">
            {isOpen ? "▾" : "▸"}
          </span>
        )}
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
      {look.own && (
        <div class="tg-number tg-self" role="gridcell">
          {latency === null ? "—" : duration(look.own[row]! / 1000)}
        </div>
      )}
      <div class="tg-number tg-wide" role="gridcell">
        {outline.tokens[span] ? count(outline.tokens[span]) : ""}
      </div>
      <div class="tg-number tg-wide" role="gridcell">
        {outline.cost[span] ? cost(outline.cost[span]) : ""}
      </div>
      {place && barOf(look, place, row, kind, failed)}
    </div>
  );
}

function barOf({ outline, tree }: Look, place: (us: number) => number, row: number, kind: string, failed: boolean): JSX.Element {
  const isOpen = tree.isOpen[row] === 1;
  const start = tree.start[row]!;
  const end = isOpen ? Math.max(tree.to, start) : tree.end[row]!;
  const [left, right] = [place(start), place(end)];
  const firstToken = outline.first_token_us[tree.span[row]!];
  const token = firstToken == null || right - left <= 1 ? -1 : place(start + firstToken);
  const shownLeft = Math.max(0, left);
  const width = Math.max(0, Math.min(100, right) - shownLeft);
  return (
    <div class="tg-time" role="gridcell" aria-label={`starts after ${duration(start / 1000)}`}>
      {right >= 0 && left <= 100 && (
        <span
          class={`tg-bar k-${kind}${failed ? " bad" : ""}${isOpen ? " running" : ""}`}
          style={{ marginLeft: `min(${shownLeft}%, 100% - 4px)`, width: `${width}%` }}
          title={`${duration(start / 1000)} → ${isOpen || outline.latency_us[tree.span[row]!] != null ? duration(end / 1000) : "—"}`}
        />
      )}
      {token >= 0 && token <= 100 && (
        <span class="first-token" style={{ marginLeft: `${token}%` }} title={`first token after ${duration(firstToken! / 1000)}`} />
      )}
    </div>
  );
}
