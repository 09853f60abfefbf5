/** Where an id is, among the projects of the person or key, and the page that shows it. */
import { request } from "./client.ts";
import type { FoundObjectResponse, ObjectKind } from "./types.d.ts";

const PAGES: Partial<Record<ObjectKind, string>> = {
  trace: "traces/",
  session: "sessions/",
  trace_run: "runs/traces/",
  session_run: "runs/sessions/",
  monitor: "monitors/",
  experiment: "experiments/",
};

export function find(id: string, signal?: AbortSignal): Promise<FoundObjectResponse[]> {
  return request("GET", "me/find", { query: { id }, signal });
}

/** The address of the page; null if no page shows such objects. */
export function pageOf(one: FoundObjectResponse, id: string): string | null {
  const page = PAGES[one.kind];
  const hex = id.replace(/-/g, "").toLowerCase();
  const shown = one.kind !== "session" && hex.length === 32 ? hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5") : id;
  return page === undefined ? null : `/p/${one.project_id}/${page}${encodeURIComponent(shown)}`;
}
