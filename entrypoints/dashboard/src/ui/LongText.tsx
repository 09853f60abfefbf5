/** A text of any length: what is long is folded, and drawn in pieces. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { isLowSurrogate, NONE, plural, startOf } from "../lib/format.ts";
import { Button } from "./basics.tsx";

export const TITLE_LENGTH = 1000; // of a text in a tooltip
const FOLD_LENGTH = 2000;
const PIECE_LENGTH = 10_000;
const PIECES_MAX = 400;

/** Blocks of a long text, so that the browser lays out only those that are seen. */
function pieces(text: string): JSX.Element[] {
  const found: JSX.Element[] = [];
  const most = Math.max(PIECE_LENGTH, Math.ceil(text.length / PIECES_MAX));
  for (let at = 0; at < text.length; ) {
    const line = text.lastIndexOf("\n", at + most) + 1;
    let end = line > at ? line : at + most;
    if (isLowSurrogate(text, end) && !isLowSurrogate(text, end - 1)) end++;
    found.push(
      <span class="piece" key={at}>
        {text.slice(at, end)}
      </span>,
    );
    at = end;
  }
  return found;
}

/** A long text is folded, and says how long it is. */
export function LongText({ text, quoted = false, fold = FOLD_LENGTH }: { text: string; quoted?: boolean; fold?: number }): JSX.Element {
  const [open, setOpen] = useState(false);
  const isLong = text.length > fold;
  const shown = isLong && !open ? startOf(text, fold) : text;
  return (
    <span class="text">
      {quoted && <span class="j-mark">"</span>}
      <span class="chars">{shown.length > PIECE_LENGTH ? pieces(shown) : shown}</span>
      {isLong && !open && "…"}
      {quoted && <span class="j-mark">"</span>}
      {isLong && (
        <Button class="link" onClick={() => setOpen(!open)}>
          {open ? "Fold" : `Show all ${plural(text.length, "character")}`}
        </Button>
      )}
    </span>
  );
}

const REASON_LENGTH = 500; // as the service cuts reasons of its own; those of clients are longer

/** Why a score is what it is, in the words of a judge, a provider, a program or a person. */
export function Reason({ text }: { text: string | null | undefined }): JSX.Element {
  return text ? <LongText text={text} fold={REASON_LENGTH} /> : <span class="none">{NONE}</span>;
}
