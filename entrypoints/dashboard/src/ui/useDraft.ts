/** What is typed into a form, kept in this tab until it is sent: also when the page is loaded again. */
import { useState } from "preact/hooks";

export function useDraft<T extends object>(key: string, initial: T): [T, (change: Partial<T>) => void, () => void] {
  const name = `pp.draft.${key}`;
  const [draft, set] = useState<T>(() => ({ ...initial, ...kept<T>(name) }));
  const put = (change: Partial<T>): void => {
    const next = { ...draft, ...change };
    set(next);
    store(name, JSON.stringify(next));
  };
  return [draft, put, () => store(name, null)];
}

function kept<T>(name: string): Partial<T> {
  try {
    return JSON.parse(sessionStorage.getItem(name) ?? "{}") as Partial<T>;
  } catch {
    return {}; // storage is switched off
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
