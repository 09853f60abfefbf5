/** Runs over traces and over sessions: their addresses, and what a form of them has in the address. */
import type { Change } from "../url/state.ts";
import { inPercent } from "./format.ts";

export type Of = "traces" | "sessions";

export const RUNS: Record<Of, string> = { traces: "evaluations/trace-runs", sessions: "evaluations/session-runs" };
export const METRICS: Record<Of, string> = { traces: "evaluations/trace-metrics", sessions: "evaluations/session-metrics" };
export const SCORES: Record<Of, string> = { traces: "evaluations/trace-scores", sessions: "evaluations/session-scores" };

export function ofParam(value: string | null | undefined): Of {
  return value === "sessions" ? "sessions" : "traces";
}

/** The names differ from those of filters, which stand in the same address. */
export const FORM = { metric: "metric", judge: "judge", votes: "votes", most: "most", share: "share", title: "title", unsettled: "unsettled" } as const;
/** What session metrics are computed from. The weights are those of the service unless the form has others. */
export const SIGNALS = ["confidence", "coherence", "loop_detection", "tool_correctness", "tool_loop", "tool_success_rate", "trace_success"] as const;

export const NO_FORM: Change = Object.fromEntries([...Object.values(FORM), ...SIGNALS.map((name) => `weight.${name}`)].map((name) => [name, null]));

export function weightsOf(params: URLSearchParams): Record<string, number> {
  const given = SIGNALS.map((name) => [name, params.get(`weight.${name}`)] as const);
  return Object.fromEntries(given.flatMap(([name, text]) => (text !== null && text !== "" && Number(text) >= 0 ? [[name, Number(text)]] : [])));
}

const LISTS = new Set(["tags", "not_tags"]);
const SESSION_FILTERS = ["user_id", "not_user_id", "tags", "not_tags", "has_error", "min_trace_count", "query", "started_after", "started_before"];

/** The filters of an address as the body of a run over sessions has them. */
export function sessionFilters(params: URLSearchParams): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const name of SESSION_FILTERS) {
    const values = params.getAll(name);
    if (values.length === 0) continue;
    if (LISTS.has(name) || name.startsWith("not_")) body[name] = values;
    else if (name === "has_error") body[name] = values[0] === "true";
    else body[name] = name === "min_trace_count" ? Number(values[0]) : values[0];
  }
  return body;
}

/** The address of a new run with the filters that a run was started with; null if it named targets. */
export function againQuery(run: { target_type: string; filters: Record<string, unknown>; metric_names: readonly string[]; model: string | null; votes: number; max_cost_usd: number | null; sampling_rate: number; settled_only: boolean }): string | null {
  const { signal_weights, ...filters } = run.filters;
  if ("trace_ids" in filters || "session_ids" in filters) return null;
  const query = new URLSearchParams({ of: run.target_type === "SESSION" ? "sessions" : "traces" });
  for (const [name, value] of Object.entries(filters)) {
    const shown = name === "date_from" ? "started_after" : name === "date_to" ? "started_before" : name;
    if (name === "metadata" || name === "not_metadata") {
      for (const [key, texts] of Object.entries(value as Record<string, string[]>)) for (const text of texts) query.append(`${name}.${key}`, text);
    } else for (const one of Array.isArray(value) ? value : [value]) query.append(shown, String(one));
  }
  for (const [name, weight] of Object.entries(signal_weights ?? {})) query.set(`weight.${name}`, String(weight));
  for (const metric of run.metric_names) query.append(FORM.metric, metric);
  if (run.model) query.set(FORM.judge, run.model);
  if (run.votes > 1) query.set(FORM.votes, String(run.votes));
  if (run.max_cost_usd !== null) query.set(FORM.most, String(run.max_cost_usd));
  if (run.sampling_rate < 1) query.set(FORM.share, String(inPercent(run.sampling_rate)));
  if (!run.settled_only) query.set(FORM.unsettled, "1");
  return query.toString();
}
