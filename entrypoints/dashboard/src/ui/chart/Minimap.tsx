/** All spans of a trace on one canvas. A brush sets the part of the time that the waterfall shows. */
import type { JSX } from "preact";
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { theme } from "../../lib/preferences.ts";
import type { TraceOutline } from "../../lib/outline.ts";
import type { TimeScale } from "../../lib/chart/scale.ts";
import type { Tree } from "../../lib/tree.ts";
import type { Zoom } from "../table/TreeGrid.tsx";
import { usePainted } from "../usePainted.ts";

const HEIGHT = 44;
const dark = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = signal(dark.matches);
dark.addEventListener("change", () => (systemIsDark.value = dark.matches));
const BRUSH_MIN = 0.004; // of the width: less is a click

export function Minimap(props: {
  outline: TraceOutline;
  tree: Tree;
  zoom: Zoom;
  whole: Zoom;
  scale: TimeScale;
  setZoom: (zoom: Zoom | null) => void;
}): JSX.Element {
  const { outline, tree, whole, zoom, scale } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [drag, setDrag] = useState<[number, number] | null>(null);
  useEffect(() => {
    const element = canvas.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const isPainted = usePainted(true); // the rows come first
  useEffect(() => {
    const element = canvas.current;
    const context = isPainted && element?.getContext("2d");
    if (!element || !context || width === 0) return;
    const density = devicePixelRatio || 1;
    element.width = width * density;
    element.height = HEIGHT * density;
    context.scale(density, density);
    draw(context, outline, tree, whole, scale, width, (name) => resolve(element, name));
  }, [outline, tree, scale, width, theme.value, systemIsDark.value, isPainted]);
  const share = (event: PointerEvent): number => {
    const box = canvas.current!.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
  };
  const [low, high] = [scale.place(whole.from), scale.place(whole.to)];
  const shareOf = (us: number): number => (scale.place(us) - low) / (high - low);
  const instant = (share: number): number => scale.instant(low + share * (high - low));
  const left = drag ? Math.min(...drag) : shareOf(zoom.from);
  const right = drag ? Math.max(...drag) : shareOf(zoom.to);
  return (
    <div
      class="minimap"
      aria-hidden="true"
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        setDrag([share(event), share(event)]);
      }}
      onPointerMove={(event) => drag && setDrag([drag[0], share(event)])}
      onPointerUp={() => {
        if (drag === null) return;
        setDrag(null);
        if (right - left < BRUSH_MIN) props.setZoom(null);
        else props.setZoom({ from: instant(left), to: instant(right) });
      }}
    >
      <canvas ref={canvas} style={{ height: `${HEIGHT}px` }} />
      <span class="shade" style={{ left: "0", width: `${left * 100}%` }} />
      <span class="shade" style={{ left: `${right * 100}%`, right: "0" }} />
    </div>
  );
}

function draw(
  context: CanvasRenderingContext2D,
  outline: TraceOutline,
  tree: Tree,
  whole: Zoom,
  scale: TimeScale,
  width: number,
  color: (name: string) => string,
): void {
  context.clearRect(0, 0, width, HEIGHT);
  const colors = outline.kinds.map((kind) => color(`--k-${kind}`));
  const bad = color("--bad");
  const low = scale.place(whole.from);
  const factor = width / (scale.place(whole.to) - low);
  const line = Math.max(1, Math.min(4, HEIGHT / Math.max(1, tree.size)));
  const step = (HEIGHT - line) / Math.max(1, tree.size - 1);
  const FAILED = colors.length;
  const group = (span: number): number => (outline.has_error[span] ? FAILED : outline.kind[span]!);
  // Colour by colour, since a change of it costs more than a bar. Of the many rows in one line of
  // pixels, only bars are drawn that aren't within the last one.
  for (const [index, fill] of [...colors, bad].entries()) {
    context.fillStyle = fill;
    let last = { y: -1, from: 0, to: 0 };
    for (let row = 0; row < tree.size; row++) {
      const span = tree.span[row]!;
      if (group(span) !== index) continue;
      const from = Math.floor((scale.place(tree.start[row]!) - low) * factor * 2) / 2;
      const end = (scale.place(tree.isOpen[row] === 1 ? whole.to : tree.end[row]!) - low) * factor;
      const to = Math.max(from + 1, Math.ceil(end * 2) / 2);
      const y = tree.size === 1 ? HEIGHT / 2 : Math.floor(row * step * 2) / 2;
      if (y === last.y && from >= last.from && to <= last.to) continue;
      context.fillRect(from, y, to - from, line);
      last = { y, from, to };
    }
  }
}

/** A colour of the style as the browser computes it: a canvas doesn't know `light-dark()`. */
function resolve(element: HTMLElement, name: string): string {
  element.style.color = `var(${name})`;
  const color = getComputedStyle(element).color;
  element.style.color = "";
  return color;
}
