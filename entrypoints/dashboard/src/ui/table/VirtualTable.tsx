/** A table of any length: rows of one height, of which only those in sight are in the page. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { offerFocus } from "../../lib/keys.ts";
import { density } from "../../lib/preferences.ts";
import { viewOf } from "../../lib/stored-views.ts";
import { ColumnMenu } from "./ColumnMenu.tsx";
import { SLACK, useMargin } from "./useRowWindow.ts";

export interface Column<T> {
  id: string;
  label: string;
  cell: (row: T, index: number) => ComponentChildren;
  sort?: string;
  className?: string;
  isHiddenLabel?: boolean; // only for screen readers
  isFixed?: boolean; // it can't be moved or hidden
  isKept?: boolean; // it can't be hidden
  width?: number | undefined; // in pixels, if a person chose it
}

export type ColumnAct = "ascending" | "descending" | "left" | "right" | "wider" | "narrower" | "hide";

interface TableProps<T> {
  label: string;
  rows: readonly T[];
  total: number;
  columns: readonly Column<T>[];
  rowKey: (row: T) => string;
  at: number; // the row that the keys act on, -1 if none
  isPart?: boolean; // of a page, which isn't come back to as a list
  rowClass?: (row: T, index: number) => string;
  sortedBy?: string;
  descending?: boolean;
  onSort?: (sort: string) => void;
  onColumn?: (id: string, act: ColumnAct, width: number) => void; // with it, columns have menus
  onNearEnd: () => void;
  onScrolled?: (isAtTop: boolean) => void;
  onPoint?: (row: T) => void;
}

const ROWS = { comfortable: 36, compact: 28 }; // as --row of the style
const ABOVE = 80; // px above the rows of most lists: what is in sight is drawn at once
const POINT_MS = 100;
const NEAR_END = 12; // rows

/** The row that was marked or pressed last, and its list: it is marked again when the list comes back. */
let lastRow = { list: "", row: "" };

/** Another row of that list was opened from its page. */
export function remark(row: string): void {
  lastRow.row = row;
}

function listHere(): string {
  return location.pathname + viewOf(location.search);
}

interface Mark {
  at: number; // the row that the keys act on, -1 if none
  go: (to: number) => string | undefined; // the id of the row that is marked now
}

/** The mark of a list, by the ids of its rows: others may come before it. */
export function useMark(ids: readonly string[], first: string | null = null): Mark {
  const [mark, set] = useState(() => ({ id: first ?? (lastRow.list === listHere() ? lastRow.row : ""), index: -1 }));
  const found = ids.indexOf(mark.id);
  const go = (to: number): string | undefined => {
    const index = Math.max(0, Math.min(ids.length - 1, to));
    set({ id: ids[index] ?? "", index });
    return ids[index];
  };
  return { at: found < 0 ? mark.index : found, go };
}

export function VirtualTable<T>(props: TableProps<T>): JSX.Element {
  const { rows, columns, at } = props;
  const ROW = ROWS[density.value];
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: innerHeight - ABOVE });
  const margin = useMargin();
  const first = Math.max(0, Math.floor(view.top / ROW) - margin);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW) + margin);
  const pointing = useRef(0);
  const latest = useRef(props);
  latest.current = props;
  const slack = margin === 0 ? 0 : SLACK * ROW;
  const updateView = (element: HTMLElement): void => {
    const now = { top: element.scrollTop, height: element.clientHeight };
    setView((before) => (now.height <= before.height && Math.abs(before.top - now.top) <= slack ? before : now));
  };
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const measure = (): void => {
      updateView(element);
      latest.current.onScrolled?.(element.scrollTop < ROW);
    };
    element.addEventListener("scroll", measure, { passive: true });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => {
      element.removeEventListener("scroll", measure);
      observer.disconnect();
    };
  }, [ROW, slack]);
  useEffect(() => {
    if (last > rows.length - NEAR_END) props.onNearEnd();
  }, [last, rows.length]);
  const remember = (row: string): void => {
    if (!props.isPart) lastRow = { list: listHere(), row };
  };
  const marked = rows[at] === undefined ? null : props.rowKey(rows[at]); // it stays where others come before it
  useLayoutEffect(() => {
    const element = box.current;
    if (marked !== null) remember(marked);
    if (element === null || at < 0) return;
    const top = at * ROW;
    const head = element.querySelector("thead")?.clientHeight ?? ROW;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW > element.scrollTop + element.clientHeight - head) {
      element.scrollTop = top + ROW - element.clientHeight + head;
    }
    updateView(element); // the scroll event comes with the next frame, and the next key may come before it
  }, [marked]);
  // Before the next key: Enter opens what has the focus. A row that is marked from the start may be
  // among those that are drawn only after the first paint.
  const isDrawn = first <= at && at < last;
  useLayoutEffect(() => {
    if (isDrawn) offerFocus(box.current?.querySelector<HTMLElement>(`tr[data-index="${at}"] a`));
  }, [marked, first, isDrawn]);
  const point = (row: T): void => {
    clearTimeout(pointing.current);
    pointing.current = window.setTimeout(() => props.onPoint?.(row), POINT_MS);
  };
  const after = useRef<HTMLSpanElement>(null);
  return (
    <>
      <div class="table" ref={box} tabIndex={-1}>
        {/* More rows come while one goes through them by Tab. */}
        <button type="button" class="skip" onClick={() => after.current?.focus({ preventScroll: true })}>Skip the rows</button>
        <table aria-label={props.label} aria-rowcount={props.total + 1}>
          <thead>
            <tr aria-rowindex={1}>
              {columns.map((column) => {
                const sorted = column.sort !== undefined && column.sort === props.sortedBy;
                return (
                  <th
                    key={column.id}
                    scope="col"
                    class={column.className ?? ""}
                    style={widthStyle(column)}
                    aria-sort={sorted ? (props.descending ? "descending" : "ascending") : undefined}
                  >
                    <span class="head">
                      {column.sort === undefined ? (
                        column.isHiddenLabel ? <span class="sr">{column.label}</span> : column.label
                      ) : (
                        <button type="button" class="link" onClick={() => props.onSort?.(column.sort!)}>
                          {column.label}
                          <span aria-hidden="true">{sorted ? (props.descending ? " ↓" : " ↑") : ""}</span>
                        </button>
                      )}
                      {props.onColumn && !column.isFixed && (
                        <ColumnMenu label={column.label} canSort={column.sort !== undefined} canHide={!column.isKept} act={(act, width) => props.onColumn?.(column.id, act, width)} />
                      )}
                    </span>
                  </th>
                );
              })}
            </tr>
          </thead>
          <tbody>
            {first > 0 && <Space rows={first} columns={columns.length} />}
            {rows.slice(first, last).map((row, offset) => {
              const index = first + offset;
              return (
                <tr
                  key={props.rowKey(row)}
                  data-index={index}
                  aria-rowindex={index + 2}
                  class={`${index === at ? "at " : ""}${props.rowClass?.(row, index) ?? ""}`}
                  onClickCapture={() => remember(props.rowKey(row))}
                  onMouseEnter={() => point(row)}
                  onMouseLeave={() => clearTimeout(pointing.current)}
                >
                  {columns.map((column) => (
                    <td key={column.id} class={column.className ?? ""} style={widthStyle(column)}>
                      {column.cell(row, index)}
                    </td>
                  ))}
                </tr>
              );
            })}
            {last < rows.length && <Space rows={rows.length - last} columns={columns.length} />}
          </tbody>
        </table>
      </div>
      <span class="sr" tabIndex={-1} ref={after} />
    </>
  );
}

function widthStyle({ width }: Column<never>): JSX.CSSProperties | undefined {
  return width === undefined ? undefined : { width: `${width}px`, minWidth: `${width}px`, maxWidth: `${width}px` };
}

function Space({ rows, columns }: { rows: number; columns: number }): JSX.Element {
  return (
    <tr aria-hidden="true" class="space">
      <td colSpan={columns} style={{ height: rows * ROWS[density.value] }} />
    </tr>
  );
}
