/** A view that a person named: the address of a list, as it is stored. */

export interface SavedView {
  name: string;
  search: string; // the query of the address, without its passing parts
}

const PASSING = ["peek", "live", "dialog", "run"]; // not a part of a view

export function viewOf(search: string): string {
  const params = new URLSearchParams(search);
  for (const name of PASSING) params.delete(name);
  const text = params.toString();
  return text === "" ? "" : `?${text}`;
}

/** What is stored may be of another version, or not by us at all. */
export function parseViews(text: string | null): SavedView[] {
  try {
    const stored: unknown = JSON.parse(text ?? "[]");
    if (!Array.isArray(stored)) return [];
    return stored.filter(
      (one): one is SavedView => typeof one?.name === "string" && typeof one?.search === "string" && /^(\?|$)/.test(one.search),
    );
  } catch {
    return [];
  }
}
