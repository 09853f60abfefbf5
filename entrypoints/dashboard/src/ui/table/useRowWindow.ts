/** Which rows of a long grid are in sight. Rows have one height, and the chosen one is kept in sight. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export const ROW = 26;
const MARGIN = 8; // rows before and after those in sight,
export const SLACK = 5; // of which so many may be used up before others are drawn
const IN_SIGHT = 8; // rows that need no look at the place of a new grid
const FIRST_MS = 50; // until rows are drawn that aren't in sight
const HEIGHT_MAX = 8_000_000; // browsers can't scroll much more
const HEAD = ROW + 4;

/** The rows to draw before and after those in sight: none until these are painted. */
export function useMargin(): number {
  const [margin, setMargin] = useState(0);
  useEffect(() => {
    const timer = setTimeout(() => setMargin(MARGIN), FIRST_MS);
    return () => clearTimeout(timer);
  }, []);
  return margin;
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
  return {
    box,
    view,
    first: Math.max(0, Math.floor(offset / ROW) - margin),
    last: Math.min(rows.length, Math.ceil((offset + view.height) / ROW) + margin),
    shift: view.top - offset, // of rows, where the scrolled height is capped
    scrolled,
  };
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
