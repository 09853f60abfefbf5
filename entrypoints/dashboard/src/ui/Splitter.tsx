/** A border that can be moved with the pointer and with the arrow keys. */
import type { JSX } from "preact";
import { useRef } from "preact/hooks";

export function Splitter(props: {
  label: string;
  value: number; // percent
  change: (value: number) => void;
  box: () => HTMLElement | null;
}): JSX.Element {
  const dragging = useRef(false);
  const set = (value: number): void => props.change(Math.round(Math.max(15, Math.min(85, value))));
  return (
    <div
      class="splitter"
      role="separator"
      aria-orientation="vertical"
      aria-label={props.label}
      aria-valuenow={props.value}
      aria-valuemin={15}
      aria-valuemax={85}
      tabIndex={0}
      onPointerDown={(event) => {
        dragging.current = true;
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => {
        const box = props.box()?.getBoundingClientRect();
        if (dragging.current && box) set(((event.clientX - box.left) / box.width) * 100);
      }}
      onPointerUp={() => (dragging.current = false)}
      onKeyDown={(event) => {
        const step = event.key === "ArrowLeft" ? -2 : event.key === "ArrowRight" ? 2 : 0;
        if (step === 0) return;
        event.preventDefault();
        event.stopPropagation();
        set(props.value + step);
      }}
    />
  );
}
