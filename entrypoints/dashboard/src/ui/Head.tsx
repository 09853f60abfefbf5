/** The head of a short table. */
import type { JSX } from "preact";

/** `#` stands before the head of numbers, `!` before one that only screen readers read. */
export function Head({ of }: { of: readonly string[] }): JSX.Element {
  return (
    <thead>
      <tr>
        {of.map((text) => {
          const isNumber = text.startsWith("#");
          const head = text.slice(isNumber ? 1 : 0);
          return (
            <th key={text} scope="col" class={isNumber ? "c-number" : ""}>
              {head.startsWith("!") ? <span class="sr">{head.slice(1)}</span> : head}
            </th>
          );
        })}
      </tr>
    </thead>
  );
}
