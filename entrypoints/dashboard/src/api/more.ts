/** Fields that the service will send with more of its answers. */
import type { SessionDetail, SessionSummary, TraceListItem } from "./types.d.ts";

export interface Extra {
  unpriced_span_count?: number; // spans whose cost nothing tells
}

export type TraceRow = TraceListItem & Extra;
export type SessionRow = SessionSummary & Extra;
export type SessionTotals = SessionDetail & Extra;
