/** A page of several parts, each with an address; and a table of few rows. */
import type { ComponentChildren, JSX } from "preact";
import { Empty, Loading, Failed } from "./basics.tsx";
import { Head } from "./Head.tsx";
import { Link } from "./Link.tsx";

export function SubPages({ label, pages, at }: { label: string; pages: readonly { href: string; name: string; text: string }[]; at: string }): JSX.Element {
  return (
    <nav class="tabs" aria-label={label}>
      {pages.map((one) => (
        <Link key={one.name} href={one.href} aria-current={one.name === at ? "page" : undefined}>
          {one.text}
        </Link>
      ))}
    </nav>
  );
}

type Cells<T> = readonly (readonly [head: string, cell: (row: T) => ComponentChildren])[];

/** The states of a list, and its rows. */
export function Rows<T>(props: {
  label: string;
  answer: { error: unknown; refetch: () => unknown };
  rows: readonly T[] | undefined;
  keyOf: (row: T) => string;
  cells: Cells<T>;
  empty: string;
}): JSX.Element {
  const { label, answer, rows, cells } = props;
  if (answer.error != null) return <Failed of={answer} />;
  if (rows === undefined) return <Loading what={label.toLowerCase()} />;
  if (rows.length === 0) return <Empty title={props.empty} />;
  return (
    <div class="scroll" role="region" aria-label={label} tabIndex={0}>
      <table class="plain-table">
        <Head of={cells.map(([head]) => head)} />
        <tbody>
          {rows.map((row) => (
            <tr key={props.keyOf(row)}>
              {cells.map(([head, cell]) => (
                <td key={head}>{cell(row)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
