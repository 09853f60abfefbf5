/** How views ask: one query client, retries that keep to Retry-After, polling of visible pages. */
import { QueryCache, QueryClient, useQuery, type UseQueryResult } from "@tanstack/preact-query";
import { useEffect, useRef } from "preact/hooks";
import { awaySince, Failure, request, returns, type Query } from "./client.ts";
import { projectId } from "./session.ts";
import type { OutlineResponse } from "./types.d.ts";

const RETRIES = 3;
const WAIT_MS = 1000;
const WAIT_MAX_MS = 30_000;

export const queries = new QueryClient({
  queryCache: new QueryCache({
    // What was read stays: a banner says that the service is away, and since when; or a sign-in is over it.
    onError: (error, query) => {
      if ((isTemporary(error) || isRefused(error)) && query.state.data !== undefined) query.setState({ status: "success", error: null });
    },
  }),
  defaultOptions: {
    queries: {
      staleTime: 5000,
      gcTime: 5 * 60_000,
      refetchOnWindowFocus: false,
      networkMode: "always", // the service may be on this machine
      // Whether the service is back is asked by `Away`, so that a view soon says what it lacks.
      retry: (failed, error) => isTemporary(error) && failed < (awaySince.value === null ? RETRIES : 1),
      retryDelay: (failed, error) => {
        const asked = error instanceof Failure ? error.retryAfterS : null;
        const wait = asked === null ? Math.min(WAIT_MS * 2 ** failed, WAIT_MAX_MS) : asked * 1000;
        return wait * (1 + Math.random() / 5);
      },
    },
  },
});

function isTemporary(error: unknown): boolean {
  return error instanceof Failure && error.isTemporary;
}

function isRefused(error: unknown): boolean {
  return error instanceof Failure && error.status === 401;
}

/** Calls `then` when the service answers again. */
export function useReturn(then: () => unknown): void {
  const count = returns.value;
  const seen = useRef(count);
  useEffect(() => {
    if (seen.current !== count) then();
    seen.current = count;
  }, [count]);
}

interface Asking {
  enabled?: boolean;
  pollMs?: number | false;
  keepPrevious?: boolean;
  initial?: unknown; // an answer that is here already, so that the first request is a poll
  body?: unknown; // of a POST that changes nothing
}

/** A GET of the current project, or a POST that only asks. A hidden page does not poll. */
export function useRead<T>(path: string, query: Query = {}, asking: Asking = {}): UseQueryResult<T> {
  const pollMs = asking.pollMs ?? false;
  const result: UseQueryResult<unknown> = useQuery<unknown>({
    queryKey: [projectId.value, path, query, asking.body],
    queryFn: ({ signal }) => (asking.body === undefined ? request<T>("GET", path, { query, signal }) : request<T>("POST", path, { body: asking.body, signal })),
    enabled: asking.enabled ?? true,
    // What is refused for good is not asked for again: the view would blink.
    refetchInterval: ({ state }) =>
      pollMs === false || (state.error !== null && !isTemporary(state.error)) ? false : pollMs * (1 + Math.random() / 5),
    ...(asking.initial === undefined ? {} : { initialData: asking.initial }),
    ...(asking.keepPrevious ? { placeholderData: (before: unknown) => before } : {}),
  });
  return result as UseQueryResult<T>;
}

const OUTLINE_PART = 50_000; // spans

/** The outline of a trace in parts: the same question for the view, and for what prefetches it. */
export function outlineQuery(trace: string) {
  const path = `traces/${trace}/outline`;
  return {
    queryKey: [projectId.value, path],
    initialPageParam: null as unknown,
    queryFn: ({ pageParam, signal }: { pageParam: unknown; signal: AbortSignal }) =>
      request<OutlineResponse>("GET", path, {
        query: pageParam === null ? {} : { limit: OUTLINE_PART, after: pageParam },
        signal,
      }),
    getNextPageParam: (last: OutlineResponse) => last.next,
  };
}

export function prefetchOutline(trace: string): void {
  void queries.prefetchInfiniteQuery(outlineQuery(trace));
}

export function invalidate(path: string): Promise<void> {
  return queries.invalidateQueries({
    predicate: ({ queryKey }) => String(queryKey[1] ?? "").startsWith(path),
  });
}
