/** The menu of a column of a list. Its items are in the page while it is open. */
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { ColumnAct } from "./VirtualTable.tsx";

const ACTS: readonly { act: ColumnAct; label: string; sorts?: boolean; stays?: boolean }[] = [
  { act: "ascending", label: "Sort ascending", sorts: true },
  { act: "descending", label: "Sort descending", sorts: true },
  { act: "left", label: "Move to the left" },
  { act: "right", label: "Move to the right" },
  { act: "wider", label: "Wider", stays: true },
  { act: "narrower", label: "Narrower", stays: true },
  { act: "hide", label: "Hide" },
];
const WIDTH = 180; // as in the style

export function ColumnMenu(props: { label: string; canSort: boolean; canHide: boolean; act: (act: ColumnAct, width: number) => void }): JSX.Element {
  const [place, open] = useState<{ left: number; top: number } | null>(null);
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  const close = (): void => {
    open(null);
    button.current?.focus();
  };
  /** The column that is hidden takes its button along. */
  const focusNext = (): void => {
    const all = [...(button.current?.closest("tr")?.querySelectorAll<HTMLElement>(".column-menu") ?? [])];
    const at = all.findIndex((one) => one === button.current);
    (all[at + 1] ?? all[at - 1])?.focus();
  };
  useLayoutEffect(() => {
    if (place !== null) menu.current?.querySelector("button")?.focus(); // before the next key
  }, [place]);
  useEffect(() => {
    if (place === null) return;
    const outside = (event: Event): void => {
      const target = event.target as Node;
      if (!menu.current?.contains(target) && !button.current?.contains(target)) open(null); // the button closes it itself
    };
    addEventListener("pointerdown", outside);
    addEventListener("scroll", outside, { capture: true, passive: true });
    return () => {
      removeEventListener("pointerdown", outside);
      removeEventListener("scroll", outside, { capture: true });
    };
  }, [place]);
  const onKey = (event: KeyboardEvent): void => {
    const items = [...(menu.current?.querySelectorAll("button") ?? [])];
    const at = items.indexOf(document.activeElement as HTMLButtonElement);
    if (event.key === "Escape") close();
    else if (event.key === "ArrowDown") items[(at + 1) % items.length]?.focus();
    else if (event.key === "ArrowUp") items.at(at - 1)?.focus();
    else if (event.key === "Tab") return open(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <>
      <button
        type="button"
        ref={button}
        class="column-menu"
        aria-label={`Column ${props.label}`}
        aria-haspopup="menu"
        aria-expanded={place !== null}
        onClick={() => {
          const box = button.current!.getBoundingClientRect();
          open(place === null ? { left: Math.max(4, Math.min(box.left, innerWidth - WIDTH - 4)), top: box.bottom } : null);
        }}
      >
        ⋮
      </button>
      {place !== null && (
        <div class="pop column-acts" role="menu" aria-label={props.label} ref={menu} style={{ left: `${place.left}px`, top: `${place.top}px` }} onKeyDown={onKey}>
          {ACTS.filter((one) => (props.canSort || !one.sorts) && (props.canHide || one.act !== "hide")).map(({ act, label, stays }) => (
            <button
              key={act}
              type="button"
              role="menuitem"
              onClick={() => {
                const width = button.current!.closest("th")!.offsetWidth;
                if (!stays) close();
                if (act === "hide") focusNext();
                props.act(act, width);
              }}
            >
              {label}
            </button>
          ))}
        </div>
      )}
    </>
  );
}
