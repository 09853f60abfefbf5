/** A value of a list: a press filters by it, with Shift it is excluded. */
import type { JSX } from "preact";
import { shownValue } from "../../lib/filters.ts";

export const VALUE = "button[data-value]"; // its selector

export function Value(props: { text: string; class: string; choose: (isExcluded: boolean) => void }): JSX.Element {
  return (
    <button
      type="button"
      data-value
      class={props.class}
      title={`Filter by ${shownValue(props.text)}; with Shift: exclude it`}
      onClick={(event) => props.choose(event.shiftKey)}
    >
      {shownValue(props.text)}
    </button>
  );
}
