/** What a person does in the labelling queue: the items that they hold, and what they answered. */
import type { AnnotationQueueItem } from "../api/types.d.ts";

export interface Answer {
  item: AnnotationQueueItem;
  value: number;
  score: string; // the id of the label
  isOver: boolean; // it replaced the judge's score
}

export interface Labelling {
  items: readonly AnnotationQueueItem[]; // the first one is shown
  answer: Answer | null; // of the first one
  answers: readonly Answer[]; // all of this visit, for undo
  skipped: readonly string[]; // traces, the last ones
}

export const START: Labelling = { items: [], answer: null, answers: [], skipped: [] };
const SKIPPED_MAX = 100; // of one request

/** Pass, fail, and eight shades between them; null for another key. */
export function valueOf(key: string, hasShades: boolean): number | null {
  if (!/^[0-9]$/.test(key)) return null;
  const digit = Number(key);
  return digit < 2 ? digit : hasShades ? digit / 10 : null;
}

/** The shown item stays first: what arrives is put behind it, without what was answered or skipped. */
export function received(now: Labelling, arrived: readonly AnnotationQueueItem[]): Labelling {
  const first = now.items[0];
  const done = new Set([...now.skipped, ...now.answers.map((one) => one.item.trace_id)]);
  const rest = arrived.filter((one) => one.trace_id !== first?.trace_id && !done.has(one.trace_id));
  return { ...now, items: first === undefined ? rest : [first, ...rest] };
}

export function answered(now: Labelling, answer: Answer): Labelling {
  return { ...now, answer, answers: [...now.answers, answer] };
}

export function next(now: Labelling): Labelling {
  return { ...now, answer: null, items: now.items.slice(1) };
}

export function skip(now: Labelling): Labelling {
  const first = now.items[0];
  if (first === undefined) return now;
  return { ...next(now), skipped: [...now.skipped, first.trace_id].slice(-SKIPPED_MAX) };
}

/** The last answer is taken back, and its item is shown again. */
export function undone(now: Labelling): Labelling {
  const last = now.answers.at(-1);
  if (last === undefined) return now;
  const rest = now.items.filter((one) => one.trace_id !== last.item.trace_id);
  return { ...now, answer: null, answers: now.answers.slice(0, -1), items: [last.item, ...rest] };
}
