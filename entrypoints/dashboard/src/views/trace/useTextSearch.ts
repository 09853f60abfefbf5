/** What the words of the find box are found in: payloads, errors and metadata, by the service. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { useRead } from "../../api/queries.ts";
import type { FoundWithinPage, FoundWithinResponse } from "../../api/types.d.ts";
import { searchFor } from "../../lib/filters.ts";

const TYPING_MS = 250;
const LIMIT = 200; // spans, in one answer

interface TextSearch {
  /** By the id of the span; that of the trace itself is "". */
  found: ReadonlyMap<string, FoundWithinResponse>;
  isAtLeast: boolean; // there may be more
  isComplete: boolean; // unless it ended at a limit of what one answer looks into
  isLoading: boolean;
  problem: string | null;
}

export function useTextSearch(trace: string, words: string, enabled: boolean): TextSearch {
  const [query, setQuery] = useState("");
  const wanted = enabled ? searchFor(words) : "";
  useEffect(() => {
    const timer = setTimeout(() => setQuery(wanted), wanted === "" ? 0 : TYPING_MS);
    return () => clearTimeout(timer);
  }, [wanted]);
  const isAsked = query !== "" && query === wanted;
  const answer = useRead<FoundWithinPage>(`traces/${trace}/search`, { query, limit: LIMIT }, { enabled: isAsked });
  const page = isAsked ? answer.data : undefined;
  const found = useMemo(() => new Map(page?.items.map((one) => [one.span_id ?? "", one])), [page]);
  return {
    found,
    isAtLeast: (page?.next_cursor ?? null) !== null,
    isComplete: page?.is_complete !== false,
    isLoading: wanted !== "" && (!isAsked || answer.isPending),
    problem: isAsked && answer.isError ? answer.error.message : null,
  };
}
