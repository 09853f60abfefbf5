/** The traces of a session as turns of a conversation, page by page. */
import { readVerbatim } from "./verbatim.ts";
import type { PaginatedResponse_SessionTurnResponse_, SessionTurnResponse, TraceListItem } from "./types.d.ts";

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
  const answer = await readVerbatim<PaginatedResponse_SessionTurnResponse_>(`${path}/turns`, { limit: PAGE, cursor }, ["input", "output"], signal);
  const textOf = (item: SessionTurnResponse, name: "input" | "output"): string | null => item[`${name}_preview`]?.text ?? (item[name] as string | null);
  const turns = answer.items.map((item) => ({
    trace: item.trace,
    llmCalls: item.llm_calls,
    toolCalls: item.tool_calls,
    input: textOf(item, "input"),
    output: textOf(item, "output"),
    isCut: item.input_preview !== null || item.output_preview !== null,
  }));
  return { turns, next: answer.next_cursor };
}
