/** The outline of a trace and its tree; read again while the trace runs. */
import { useInfiniteQuery } from "@tanstack/preact-query";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { outlineQuery } from "../../api/queries.ts";
import type { OutlineResponse } from "../../api/types.d.ts";
import { joinOutline } from "../../lib/outline.ts";
import { buildTree } from "../../lib/tree.ts";

const POLL_MS = 3000;
const UNCHANGED_MAX_MS = 600_000;

export function useOutline(id: string) {
  const changedAt = useRef({ revision: "", at: Date.now() });
  const answer = useInfiniteQuery<OutlineResponse>({
    ...outlineQuery(id),
    structuralSharing: false, // an answer that is unchanged is the same object
    refetchInterval: (query) => {
      const pages = query.state.data?.pages;
      const last = pages?.at(-1);
      if (!last || pages!.length > 1) return false;
      const seen = changedAt.current;
      if (seen.revision !== last.revision) changedAt.current = { revision: last.revision, at: Date.now() };
      const isRunning = last.trace.status === "RUNNING" || last.trace.status === "PENDING";
      return isRunning && Date.now() - changedAt.current.at < UNCHANGED_MAX_MS ? POLL_MS : false;
    },
  });
  const pages = answer.data?.pages ?? [];
  const revisions = pages.map((page) => page.revision).join();
  const outline = useMemo(() => (pages.length > 0 ? joinOutline(pages) : null), [revisions]);
  const tree = useMemo(() => (outline ? buildTree(outline) : null), [outline]);
  useEffect(() => {
    if (new Set(pages.map((page) => page.revision)).size > 1) void answer.refetch(); // it changed between two parts
    else if (answer.hasNextPage && !answer.isFetchingNextPage) void answer.fetchNextPage();
  }, [revisions, answer.hasNextPage, answer.isFetchingNextPage]);
  return { answer, outline, tree };
}
