/** The state of a view is the query of its address. */
import { useCallback, useMemo } from "preact/hooks";
import { useLocation, useSearch } from "wouter-preact";

export type Change = Record<string, string | readonly string[] | null>;

export function changed(search: string, change: Change): string {
  const next = new URLSearchParams(search);
  for (const [name, value] of Object.entries(change)) {
    next.delete(name);
    if (value === null) continue;
    for (const one of typeof value === "string" ? [value] : value) next.append(name, one);
  }
  const text = next.toString().replace(/%3A/g, ":").replace(/%2C/g, ",");
  return text === "" ? "" : `?${text}`;
}

export interface UrlState {
  params: URLSearchParams;
  /** Typing replaces the entry of the history, choosing adds one. */
  update: (change: Change, options?: { push?: boolean }) => void;
}

export function useUrlState(): UrlState {
  const search = useSearch();
  const [path, navigate] = useLocation();
  const params = useMemo(() => {
    const found = new URLSearchParams(search);
    for (const name of ["started_after", "started_before"]) if (Number.isNaN(Date.parse(found.get(name) ?? "0"))) found.delete(name);
    return found;
  }, [search]);
  const update = useCallback(
    (change: Change, options: { push?: boolean } = {}) => {
      // Two changes in one task: the second one sees the first.
      const query = changed(location.search, change);
      if (query !== location.search) {
        navigate(`${path}${query}`, { replace: !(options.push ?? false) });
      }
    },
    [path, navigate],
  );
  return { params, update };
}
