/** The traces of a session as turns of a conversation, page by page. */
import { childOf, childrenOf, rootOf } from "../lib/json-index.ts";
import { requestText } from "./client.ts";
import type { SessionDetail } from "./types.d.ts";

const PAGE = 20; // its answer has the spans of each trace

export interface SessionTurn {
  trace_id: string;
  name: string;
  status: string;
  started_at: string;
  latency_ms: number | null;
  total_cost: number;
  unpriced: number;
  llmCalls: number;
  toolCalls: number;
  errors: number;
  input: string | null; // JSON text
  output: string | null;
  cut: boolean;
}

export interface TurnPage {
  turns: SessionTurn[];
  next: number | null;
}

/** Payloads are slices of the answer, so their numbers stay as they were sent. */
export async function readTurns(path: string, page: unknown, signal: AbortSignal): Promise<TurnPage> {
  const offset = typeof page === "number" ? page : 0;
  const text = await requestText(path, { limit: PAGE, offset }, signal);
  const value = JSON.parse(text) as SessionDetail;
  const list = childOf(text, rootOf(text), "traces");
  const nodes = list ? childrenOf(text, list).children : [];
  const turns = value.traces.map((trace, index) => {
    const slice = (name: string): string | null => {
      const node = childOf(text, nodes[index], name);
      return node === undefined || text.startsWith("null", node.start) ? null : text.slice(node.start, node.end);
    };
    const count = (kind: string): number => trace.spans.filter((span) => span.kind === kind).length;
    return {
      trace_id: trace.trace_id,
      name: trace.name,
      status: trace.status,
      started_at: trace.started_at,
      latency_ms: trace.ended_at === null || trace.clock_skew ? null : Date.parse(trace.ended_at) - Date.parse(trace.started_at),
      total_cost: trace.total_cost,
      unpriced: trace.spans.filter((span) => span.cost_source === "unpriced" && span.token_usage !== null).length,
      llmCalls: count("LLM"),
      toolCalls: count("TOOL"),
      errors: trace.spans.filter((span) => span.status === "ERROR" || span.error !== null).length,
      input: slice("input"),
      output: slice("output"),
      cut: false,
    };
  });
  return { turns, next: offset + turns.length < value.trace_count && turns.length > 0 ? offset + turns.length : null };
}
