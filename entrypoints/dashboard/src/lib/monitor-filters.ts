/** The filters of a monitor in the address of its form, and back. */

const MAPS = ["metadata", "not_metadata"];
const OF_SESSIONS = ["user_id", "has_error", "tags", "min_trace_count"];

/** Stored filters as parameters: what the form can show of them. */
export function paramsOfFilters(filters: Record<string, unknown>): URLSearchParams {
  const params = new URLSearchParams();
  const add = (name: string, value: unknown): void => {
    for (const one of Array.isArray(value) ? value : [value]) params.append(name, String(one));
  };
  for (const [name, value] of Object.entries(filters)) {
    if (value === null || name === "signal_weights") continue;
    if (MAPS.includes(name)) for (const [key, one] of Object.entries(value as object)) add(`${name}.${key}`, one);
    else add(name, value);
  }
  return params;
}

type FilterBody = (params: URLSearchParams, now: number) => Record<string, unknown>;

/**
 * What the address says, and what it can't say of the stored filters, as the service takes them. A
 * period that ends now would stand still, so it isn't taken along.
 */
export function monitorFilters(params: URLSearchParams, of: "TRACE" | "SESSION", stored: Record<string, unknown>, filterBody: FilterBody): Record<string, unknown> {
  const given = new URLSearchParams(params);
  given.delete("period");
  const shown = filterBody(given, 0);
  const said = of === "TRACE" ? shown : sessionFilters(given, shown);
  const sayable = new Set(Object.keys(of === "TRACE" ? filterBody(paramsOfFilters(stored), 0) : sessionFilters(paramsOfFilters(stored), filterBody(paramsOfFilters(stored), 0))));
  const kept = Object.entries(stored).filter(([name, value]) => value !== null && name !== "signal_weights" && !sayable.has(name));
  return { ...Object.fromEntries(kept), ...said };
}

function sessionFilters(params: URLSearchParams, shown: Record<string, unknown>): Record<string, unknown> {
  const least = params.get("min_trace_count");
  const known = Object.entries(shown).filter(([name]) => OF_SESSIONS.includes(name));
  return { ...Object.fromEntries(known), ...(least ? { min_trace_count: Number(least) } : {}) };
}
