/** A value of a list: a press filters by it, with Shift it is excluded. */
import type { JSX } from "preact";

export function Value(props: { text: string; class: string; choose: (isExcluded: boolean) => void }): JSX.Element {
  return (
    <button
      type="button"
      class={props.class}
      title={`Filter by ${props.text}; with Shift: exclude it`}
      onClick={(event) => props.choose(event.shiftKey)}
    >
      {props.text}
    </button>
  );
}
