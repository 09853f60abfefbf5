/** A list by its cursor, a page after the other. */
import { useInfiniteQuery, type InfiniteData } from "@tanstack/preact-query";
import { request, type Query } from "../../api/client.ts";
import { projectId } from "../../api/session.ts";

const PAGE = 50;

export interface Page<T> {
  items: T[];
  total: number;
  total_is_at_least?: boolean;
  next_cursor: string | null;
}

export interface Pages<T> {
  rows: readonly T[];
  total: number;
  isAtLeast: boolean; // there may be more than the total
  isRead: boolean; // its first page
  isEmpty: boolean; // though it was read
  hasMore: boolean;
  isReading: boolean; // a further page
  error: unknown;
  refetch: () => unknown;
  more: () => void;
}

interface Paging<T> {
  read?: (path: string, query: Query, signal: AbortSignal) => Promise<Page<T>>;
  enabled?: boolean;
  keepPrevious?: boolean; // while another list is read
  pollMs?: (rows: readonly T[]) => number | false;
}

export function usePages<T>(path: string, query: Query = {}, paging: Paging<T> = {}): Pages<T> {
  const read = paging.read ?? ((path, query, signal) => request("GET", path, { query, signal }));
  const rowsOf = (data: InfiniteData<Page<T>> | undefined): T[] => data?.pages.flatMap((page) => page.items) ?? [];
  const pages = useInfiniteQuery<Page<T>>({
    queryKey: [projectId.value, path, "pages", query],
    initialPageParam: null,
    queryFn: ({ pageParam, signal }) => read(path, { limit: PAGE, ...query, cursor: pageParam }, signal),
    getNextPageParam: (last) => last.next_cursor,
    enabled: paging.enabled ?? true,
    refetchInterval: ({ state }) => paging.pollMs?.(rowsOf(state.data)) ?? false,
    ...(paging.keepPrevious ? { placeholderData: (before) => before } : {}),
  });
  const rows = rowsOf(pages.data);
  const first = pages.data?.pages[0];
  return {
    rows,
    total: first?.total ?? 0,
    isAtLeast: first?.total_is_at_least ?? false,
    isRead: first !== undefined,
    isEmpty: first !== undefined && rows.length === 0,
    hasMore: pages.hasNextPage,
    isReading: pages.isFetchingNextPage,
    error: pages.error,
    refetch: pages.refetch,
    more: () => {
      if (pages.hasNextPage && !pages.isFetchingNextPage) void pages.fetchNextPage();
    },
  };
}
