/** What a tab kept of a form. It may be of another version of the dashboard, or damaged. */

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "list" : typeof value;
}

/** The values that fit the form: one of another type would make it fail each time that it is opened. */
export function keptDraft<T extends object>(text: string | null, initial: T): Partial<T> {
  try {
    const stored: unknown = JSON.parse(text ?? "{}");
    const own = new Map<string, unknown>(Object.entries(initial));
    const fits = ([name, value]: [string, unknown]): boolean => !own.has(name) || kindOf(value) === kindOf(own.get(name));
    return kindOf(stored) === "object" ? (Object.fromEntries(Object.entries(stored as object).filter(fits)) as Partial<T>) : {};
  } catch {
    return {};
  }
}
