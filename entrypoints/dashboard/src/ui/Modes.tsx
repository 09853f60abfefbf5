/** A few ways to show something, next to each other. */
import type { JSX } from "preact";

export function Modes<T extends string | null>({ label, of, at, text = String, choose }: { label: string; of: readonly T[]; at: T; text?: (one: T) => string; choose: (one: T) => void }): JSX.Element {
  return (
    <span class="modes" role="group" aria-label={label}>
      {of.map((one) => (
        <button key={one} type="button" aria-pressed={one === at} onClick={() => choose(one)}>
          {text(one)}
        </button>
      ))}
    </span>
  );
}
