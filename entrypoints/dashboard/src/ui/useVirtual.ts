/** Items of different heights in a scrolled box, of which only those in sight are drawn. */
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "@tanstack/virtual-core";
import { useLayoutEffect, useReducer, useRef } from "preact/hooks";

type Virtual = Virtualizer<HTMLDivElement, HTMLElement>;

export interface VirtualOptions {
  count: number;
  box: () => HTMLDivElement | null;
  key: (index: number) => string | number;
  estimate: number; // px of an item that was not measured yet
  overscan: number; // items before and after those in sight
}

export function useVirtual({ count, box, key, estimate, overscan }: VirtualOptions): Virtual {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  const virtual = useRef<Virtual | null>(null);
  const options = {
    count,
    getScrollElement: box,
    estimateSize: () => estimate,
    overscan,
    scrollToFn: elementScroll,
    observeElementRect,
    observeElementOffset,
    getItemKey: key,
    onChange: () => redraw(0 as never),
  };
  virtual.current ??= new Virtualizer(options);
  virtual.current.setOptions(options);
  useLayoutEffect(() => virtual.current?._didMount(), []);
  useLayoutEffect(() => virtual.current?._willUpdate());
  return virtual.current;
}
