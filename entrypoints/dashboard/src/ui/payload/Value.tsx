/** A value of a list: a press filters by it, with Shift it is excluded. */
import type { JSX } from "preact";

export const VALUE = "button[data-value]"; // its selector

export function Value(props: { text: string; class: string; choose: (isExcluded: boolean) => void }): JSX.Element {
  return (
    <button
      type="button"
      data-value
      class={props.class}
      title={`Filter by ${props.text}; with Shift: exclude it`}
      onClick={(event) => props.choose(event.shiftKey)}
    >
      {props.text}
    </button>
  );
}
