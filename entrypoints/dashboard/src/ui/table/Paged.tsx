/** The states of a list that is read page by page. */
import type { ComponentChildren, JSX } from "preact";
import { count, plural } from "../../lib/format.ts";
import { Button, Failed, Loading } from "../basics.tsx";
import type { Pages } from "./usePages.ts";

/** Why it isn't there, or that it is empty; else its rows, as `children` makes them. */
export function Paged<T>({ of, what, empty, children }: { of: Pages<T>; what: string; empty: ComponentChildren; children: () => ComponentChildren }): JSX.Element {
  return (
    <>
      <Failed of={of} />
      {!of.isRead && of.error == null && <Loading what={what} />}
      {of.isEmpty && empty}
      {of.rows.length > 0 && children()}
    </>
  );
}

export function Total({ of, what, words, class: className = "total" }: { of: Pages<unknown>; what: string; words?: string; class?: string }): JSX.Element {
  return <span class={className} role="status">{of.isRead ? `${of.isAtLeast ? "at least " : ""}${plural(of.total, what, words)}` : ""}</span>;
}

export function More({ of }: { of: Pages<unknown> }): JSX.Element | null {
  if (!of.hasMore) return null;
  return (
    <p>
      <Button disabled={of.isReading} onClick={of.more}>Show more: {count(of.rows.length)} of {of.isAtLeast ? "at least " : ""}{count(of.total)}</Button>
    </p>
  );
}
