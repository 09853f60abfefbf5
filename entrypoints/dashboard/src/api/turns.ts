/** The traces of a session as turns of a conversation, page by page. */
import { childOf, childrenOf, rootOf } from "../lib/payload/json-index.ts";
import { requestText } from "./client.ts";
import type { PaginatedResponse_SessionTurnResponse_, TraceListItem } from "./types.d.ts";

const PAGE = 50;

export interface SessionTurn {
  trace: TraceListItem;
  llmCalls: number;
  toolCalls: number;
  input: string | null; // JSON text, or its beginning
  output: string | null;
  isCut: boolean;
}

export interface TurnPage {
  turns: SessionTurn[];
  next: string | null;
}

/** Payloads are slices of the answer, so their numbers stay as they were sent. */
export async function readTurns(path: string, cursor: unknown, signal: AbortSignal): Promise<TurnPage> {
  const text = await requestText(`${path}/turns`, { limit: PAGE, cursor }, signal);
  const answer = JSON.parse(text) as PaginatedResponse_SessionTurnResponse_;
  const list = childOf(text, rootOf(text), "items");
  const nodes = list ? childrenOf(text, list).children : [];
  const turns = answer.items.map((item, index) => {
    const slice = (name: "input" | "output"): string | null => {
      const preview = item[`${name}_preview`];
      if (preview !== null) return preview.text;
      const node = childOf(text, nodes[index], name);
      return node === undefined || text.startsWith("null", node.start) ? null : text.slice(node.start, node.end);
    };
    return {
      trace: item.trace,
      llmCalls: item.llm_calls,
      toolCalls: item.tool_calls,
      input: slice("input"),
      output: slice("output"),
      isCut: item.input_preview !== null || item.output_preview !== null,
    };
  });
  return { turns, next: answer.next_cursor };
}
