/** Items of different heights in a scrolled box, of which only those in sight are drawn. */
import type { RefObject } from "preact";
import { useLayoutEffect, useMemo, useReducer, useRef } from "preact/hooks";
import { itemAt, offsetsOf } from "../../lib/offsets.ts";

interface Virtual {
  height: number; // px of all items
  items: { index: number; key: string; start: number }[];
  measure: (element: HTMLElement | null) => void; // the `ref` of an item, whose `data-key` is its key
  show: (index: number) => void; // at the top of the box
}

/** `keys` stays the same list until an item comes, goes or moves. The box is there from the start. */
export function useVirtual(box: RefObject<HTMLElement>, keys: readonly string[], estimate: number, overscan: number): Virtual {
  const [version, redraw] = useReducer<number, void>((n) => n + 1, 0);
  const heights = useRef(new Map<string, number>()).current;
  const now = useRef({ keys, offsets: offsetsOf([]), sight: [0, 0], top: 0, height: 0, shown: "", shift: 0 }).current;
  now.keys = keys;
  const offsets = (now.offsets = useMemo(() => offsetsOf(keys.map((key) => heights.get(key) ?? estimate)), [keys, version]));
  const inSight = (): [number, number] => [itemAt(now.offsets, now.top), itemAt(now.offsets, now.top + now.height)];
  const sight = (now.sight = inSight());
  const first = Math.max(0, sight[0] - overscan);
  const last = Math.min(keys.length, sight[1] + 1 + overscan);
  const items = keys.slice(first, last).map((key, at) => ({ index: first + at, key, start: offsets[first + at]! }));

  const observer = useRef<ResizeObserver | null>(null);
  observer.current ??= new ResizeObserver((entries) => {
    for (const { target, borderBoxSize } of entries) {
      if (!target.isConnected) {
        observer.current?.unobserve(target);
        continue;
      }
      if (target === box.current) now.height = target.clientHeight;
      const key = (target as HTMLElement).dataset["key"];
      const height = borderBoxSize[0]!.blockSize;
      if (key === undefined || height === 0) continue;
      const start = now.offsets[now.keys.indexOf(key)] ?? Infinity;
      if (start < now.top) now.shift += height - (heights.get(key) ?? estimate);
      heights.set(key, height);
    }
    redraw();
  });
  const measure = useRef((element: HTMLElement | null): void => {
    if (element !== null) observer.current?.observe(element);
  }).current;
  useLayoutEffect(() => {
    const element = box.current!;
    const scrolled = (): void => {
      now.top = element.scrollTop;
      if (inSight().some((index, end) => index !== now.sight[end])) redraw();
    };
    element.addEventListener("scroll", scrolled, { passive: true });
    measure(element);
    return () => {
      element.removeEventListener("scroll", scrolled);
      observer.current?.disconnect();
    };
  }, []);
  // Items before those in sight have got other heights: what is in sight stays where it is.
  useLayoutEffect(() => {
    const element = box.current!;
    const at = keys.indexOf(now.shown);
    if (at >= 0) element.scrollTop = offsets[at]!;
    else if (now.shift !== 0) element.scrollTop += now.shift;
    now.shift = 0;
    if (at >= first && at < last && items.every(({ key }) => heights.has(key))) now.shown = ""; // it stays there
  }, [version, keys]);
  const show = (index: number): void => {
    now.shown = keys[index] ?? "";
    redraw();
  };
  return { height: offsets[keys.length]!, items, measure, show };
}
