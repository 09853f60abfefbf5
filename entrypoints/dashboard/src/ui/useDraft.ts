/** What is typed into a form, kept in this tab until it is sent: also when the page is loaded again. */
import { useState } from "preact/hooks";
import { keptDraft } from "../lib/kept-draft.ts";

export function useDraft<T extends object>(key: string, initial: T): [T, (change: Partial<T>) => void, () => void] {
  const name = `pp.draft.${key}`;
  const [draft, set] = useState<T>(() => ({ ...initial, ...keptDraft(stored(name), initial) }));
  const put = (change: Partial<T>): void => {
    const next = { ...draft, ...change };
    set(next);
    store(name, JSON.stringify(next));
  };
  return [draft, put, () => store(name, null)];
}

function stored(name: string): string | null {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null; // storage is switched off
  }
}

function store(name: string, text: string | null): void {
  try {
    if (text === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, text);
  } catch {
    // It is kept until the page is closed.
  }
}
