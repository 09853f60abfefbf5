/** A list by its cursor, a page after the other. */
import { useInfiniteQuery } from "@tanstack/preact-query";
import { request, type Query } from "../../api/client.ts";
import { projectId } from "../../api/session.ts";

const PAGE = 50;

export interface Page<T> {
  items: T[];
  total: number;
  next_cursor: string | null;
}

export interface Pages<T> {
  rows: readonly T[];
  total: number;
  state: "loading" | "failed" | "empty" | "shown";
  error: unknown;
  again: () => void;
  more: () => void;
}

type Reading<T> = (path: string, query: Query, signal: AbortSignal) => Promise<Page<T>>;

export function usePages<T>(path: string, query: Query = {}, read: Reading<T> = (path, query, signal) => request("GET", path, { query, signal })): Pages<T> {
  const pages = useInfiniteQuery<Page<T>>({
    queryKey: [projectId.value, path, "pages", query],
    initialPageParam: null,
    queryFn: ({ pageParam, signal }) => read(path, { limit: PAGE, ...query, cursor: pageParam }, signal),
    getNextPageParam: (last) => last.next_cursor,
  });
  const rows = pages.data?.pages.flatMap((page) => page.items) ?? [];
  return {
    rows,
    total: pages.data?.pages[0]?.total ?? 0,
    state: pages.isError ? "failed" : pages.isPending ? "loading" : rows.length === 0 ? "empty" : "shown",
    error: pages.error,
    again: () => void pages.refetch(),
    more: () => {
      if (pages.hasNextPage && !pages.isFetchingNextPage) void pages.fetchNextPage();
    },
  };
}
