/** Fields of lists that the service sends on asking (`include`), or not in each version. */
import type { SessionDetail, SessionSummary, TraceListItem } from "./types.d.ts";

export interface Extra {
  unpriced_span_count?: number;
  error_count?: number;
  input_preview?: string | null;
  output_preview?: string | null;
  models?: readonly string[];
  scores?: readonly { name: string; value: string | number | null; outcome: string }[];
}

export type TraceRow = TraceListItem & Extra;
export type SessionRow = SessionSummary & Pick<Extra, "unpriced_span_count">;
export type SessionTotals = SessionDetail & Pick<Extra, "unpriced_span_count">;
