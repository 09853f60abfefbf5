/** What happened in a project lately. One request covers the projects of an organization. */
import { useQuery } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { request } from "../../api/client.ts";
import { session, type Project } from "../../api/session.ts";
import type { ProjectActivityResponse, ProjectListItem, TraceListItem } from "../../api/types.d.ts";
import { ago, cost, costHint, count, fullInstant, percent, plural } from "../../lib/format.ts";

const HEIGHT = 24;
const POLL_MS = 60_000;

type Known = Partial<ProjectActivityResponse> & { last_trace_at: string | null };

export function Activity({ project }: { project: Project }): JSX.Element {
  const now = session.value;
  const isPerson = now.state === "in" && now.isPerson;
  const found = useQuery<ReadonlyMap<string, Known | null>>({
    queryKey: [isPerson ? project.organizationId : project.id, "activity"],
    queryFn: ({ signal }) => (isPerson ? ofOrganization : ofProject)(project, signal),
    refetchInterval: POLL_MS,
  });
  const known = found.data?.get(project.id);
  return (
    <span class="activity">
      {found.isError && <small class="bad-text">{found.error.message}</small>}
      {known?.buckets && <Week activity={known as ProjectActivityResponse} />}
      {known && (
        <small title={known.last_trace_at ? fullInstant(known.last_trace_at) : ""}>
          {known.last_trace_at ? `last trace ${ago(known.last_trace_at)}` : "no trace yet"}
        </small>
      )}
    </span>
  );
}

async function ofOrganization({ organizationId }: Project, signal: AbortSignal): Promise<ReadonlyMap<string, Known | null>> {
  const path = `organizations/${organizationId}/projects`;
  const projects = await request<ProjectListItem[]>("GET", path, { query: { include: "activity" }, signal });
  return new Map(projects.map((one) => [one.id, one.activity ?? null]));
}

/** Keys are of projects, and don't list those of an organization. */
async function ofProject(project: Project, signal: AbortSignal): Promise<ReadonlyMap<string, Known>> {
  const headers = { "X-Project-ID": project.id, "X-Organization-ID": project.organizationId };
  const page = await request<{ items: TraceListItem[] }>("GET", "traces", { query: { limit: 1 }, headers, signal });
  return new Map([[project.id, { last_trace_at: page.items[0]?.started_at ?? null }]]);
}

function Week({ activity }: { activity: ProjectActivityResponse }): JSX.Element {
  const { buckets, recent_trace_count: recent, recent_error_count: failed, unpriced_span_count: unpriced } = activity;
  const most = Math.max(1, ...buckets.map((one) => one.trace_count));
  const path = (of: "trace_count" | "error_count"): string =>
    buckets.map((one, index) => (one[of] === 0 ? "" : `M${index * 4} ${HEIGHT}v-${Math.max(1, (one[of] / most) * HEIGHT).toFixed(1)}h3V${HEIGHT}z`)).join("");
  return (
    <>
      <svg class="week" viewBox={`0 0 ${buckets.length * 4} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${plural(activity.trace_count, "trace")} in 7 days, ${count(activity.error_count)} failed`}>
        <path d={path("trace_count")} />
        <path class="bad" d={path("error_count")} />
      </svg>
      <span>
        {plural(recent, "trace")} in 24 h{recent > 0 && <span class={failed > 0 ? "bad-text" : ""}>, {percent(failed, recent)} failed</span>}
      </span>
      <span title={costHint(activity.total_cost, unpriced)}>
        {cost(activity.total_cost, unpriced)} in 7 days{unpriced > 0 && ` · ${plural(unpriced, "span")} unpriced`}
      </span>
      {activity.alerting_count > 0 && <span class="bad-text">{plural(activity.alerting_count, "alert fires", "alerts fire")}</span>}
    </>
  );
}
