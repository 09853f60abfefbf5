/** Two texts line by line, and changed lines word by word, within a bounded time. */
import { diffLines, diffWordsWithSpace } from "diff";

const TIMEOUT_MS = 300;
const EDITS_MAX = 4000; // lines or words that differ
const WORDS_LENGTH_MAX = 20_000; // characters of changed lines that are compared word by word
const COMMON_MIN = 0.4; // of the characters: with fewer in common, word by word is unreadable
const CONTEXT = 3; // equal lines that stay next to a change

export interface Piece {
  kind: "same" | "left" | "right";
  text: string;
}

export type Block = { kind: "same"; text: string } | { kind: "folded"; text: string; lines: number } | { kind: "changed"; pieces: Piece[] };

/** Null if the texts differ too much to be compared in time. */
export function textBlocks(left: string, right: string): Block[] | null {
  const parts = diffLines(left, right, { timeout: TIMEOUT_MS, maxEditLength: EDITS_MAX });
  if (parts === undefined) return null;
  const blocks: Block[] = [];
  for (let at = 0; at < parts.length; at++) {
    const part = parts[at]!;
    if (!part.added && !part.removed) {
      blocks.push(...folded(part.value, at === 0, at === parts.length - 1));
      continue;
    }
    const next = parts[at + 1];
    const isReplaced = part.removed && next?.added === true;
    if (isReplaced) at++;
    blocks.push({ kind: "changed", pieces: isReplaced ? words(part.value, next.value) : [piece(part)] });
  }
  return blocks;
}

function piece(part: { value: string; added?: boolean; removed?: boolean }): Piece {
  return { kind: part.added ? "right" : part.removed ? "left" : "same", text: part.value };
}

function words(left: string, right: string): Piece[] {
  const whole: Piece[] = [
    { kind: "left", text: left },
    { kind: "right", text: right },
  ];
  if (left.length + right.length > WORDS_LENGTH_MAX) return whole;
  const pieces = diffWordsWithSpace(left, right, { timeout: TIMEOUT_MS, maxEditLength: EDITS_MAX })?.map(piece);
  if (pieces === undefined) return whole;
  const common = pieces.reduce((sum, one) => sum + (one.kind === "same" ? one.text.trim().length : 0), 0);
  return common < COMMON_MIN * Math.max(left.length, right.length) ? whole : pieces;
}

/** Equal lines far from a change are folded. */
function folded(text: string, isFirst: boolean, isLast: boolean): Block[] {
  const lines = text.split(/(?<=\n)/);
  const [before, after] = [isFirst ? 0 : CONTEXT, isLast ? 0 : CONTEXT];
  const hidden = lines.length - before - after;
  if (hidden < 4) return [{ kind: "same", text }];
  const blocks: Block[] = [
    { kind: "same", text: lines.slice(0, before).join("") },
    { kind: "folded", text: lines.slice(before, lines.length - after).join(""), lines: hidden },
    { kind: "same", text: lines.slice(lines.length - after).join("") },
  ];
  return blocks.filter((one) => one.kind !== "same" || one.text !== "");
}
