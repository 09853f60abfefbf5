/** Which rows of a long grid are in sight. Rows have one height, and the chosen one is kept in sight. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { usePainted } from "../usePainted.ts";

export const ROW = 26;
export const BLOCK = 4; // rows that are drawn and painted together
const MARGIN = 6; // rows before and after those in sight,
export const SLACK = 5; // of which so many may be used up before others are drawn
const IN_SIGHT = 8; // rows that need no look at the place of a new grid
const HEIGHT_MAX = 8_000_000; // browsers can't scroll much more
const HEAD = ROW + 4;
export const SETTLED_MS = 200; // after the last change of the rows

/** The rows to draw before and after those in sight: none until these are painted. */
export function useMargin(): number {
  return usePainted(true) ? MARGIN : 0;
}

export function useRowWindow(rows: Int32Array, at: number) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600, width: 900 });
  const margin = useMargin();
  const height = rows.length * ROW;
  const scrolled = Math.min(height, HEIGHT_MAX);
  const factor = scrolled > view.height ? (height - view.height) / (scrolled - view.height) : 1;
  const offset = Math.max(0, view.top * factor);
  const isCapped = useRef(false);
  const isNew = useRef(true);
  isCapped.current = scrolled < height;
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const measure = (): void => {
      const now = { top: element.scrollTop, height: element.clientHeight, width: element.clientWidth };
      setView((before) => {
        const isSame = before.height === now.height && before.width === now.width && !isCapped.current;
        return isSame && Math.abs(before.top - now.top) <= SLACK * ROW ? before : now;
      });
    };
    element.addEventListener("scroll", measure, { passive: true });
    const observer = new ResizeObserver(measure); // also measures before the first paint
    observer.observe(element);
    return () => {
      element.removeEventListener("scroll", measure);
      observer.disconnect();
    };
  }, []);
  useLayoutEffect(() => {
    const element = box.current;
    const isFirst = isNew.current;
    isNew.current = false;
    if (element === null || at < 0 || (isFirst && at < IN_SIGHT)) return;
    const top = at * ROW;
    const low = element.scrollTop * factor;
    const high = low + element.clientHeight - HEAD;
    if (top < low) element.scrollTop = top / factor;
    else if (top + ROW > high) element.scrollTop = (top + ROW - element.clientHeight + HEAD) / factor;
  }, [at, rows]);
  const first = Math.max(0, Math.floor((Math.floor(offset / ROW) - margin) / BLOCK)) * BLOCK;
  const last = Math.min(rows.length, Math.ceil((offset + view.height) / ROW) + margin);
  return {
    box,
    view,
    first,
    last,
    blocks: useBlocks(first, last, Math.ceil((view.height / ROW + 1 + 2 * margin) / BLOCK) + 1),
    shift: view.top - offset, // of rows, where the scrolled height is capped
    scrolled,
  };
}

export interface Block {
  key: number; // of the element
  from: number; // the index of its first row
  to: number;
}

/**
 * Which element shows which rows, in the order of the elements. While one scrolls, elements stay where
 * they are in the page: one that leaves at one end shows rows that come at the other, as making
 * elements costs more than changing them. Then they are put into the order of the rows, in which
 * screen readers read them.
 */
function useBlocks(first: number, last: number, size: number): Block[] {
  const [start, setStart] = useState(0); // the key of the first element
  const keyOfFirst = (first / BLOCK) % size;
  useEffect(() => {
    const timer = setTimeout(() => setStart(keyOfFirst), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [keyOfFirst]);
  const blocks: Block[] = [];
  for (let at = 0; at < size; at++) {
    const key = (start + at) % size;
    const from = first + ((key - keyOfFirst + size) % size) * BLOCK;
    if (from < last) blocks.push({ key, from, to: Math.min(last, from + BLOCK) });
  }
  return blocks;
}

/** Rows are in ascending order. */
export function indexOf(rows: Int32Array, row: number): number {
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
