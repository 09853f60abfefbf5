/** The list of sessions. */
import type { JSX } from "preact";
import { useLocation } from "wouter-preact";
import { project } from "../../api/session.ts";
import type { SessionListItem } from "../../api/types.d.ts";
import { chips, filterBy, filterQuery, shownValue, withoutFilters } from "../../lib/filters.ts";
import { ago, cost, costHint, count, duration, fullInstant, NONE } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { Button, Empty, useTitle } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Chips } from "../../ui/table/Filters.tsx";
import { Fitting, ScoreLine } from "../../ui/ScoreBadge.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { Value } from "../../ui/payload/Value.tsx";
import { Paged, Total } from "../../ui/table/Paged.tsx";
import { usePages } from "../../ui/table/usePages.ts";
import { useMark, VirtualTable, type Column } from "../../ui/table/VirtualTable.tsx";
import { changed, useUrlState } from "../../url/state.ts";
import { useCurl } from "../../ui/useCurl.ts";

const NOT_ENDED = "No trace of it has ended";
const INCLUDE = "preview,scores";
const FILTERS = ["user_id", "not_user_id", "tags", "not_tags"]; // of those of traces

export function Sessions(): JSX.Element {
  const url = useUrlState();
  const { params, update } = url;
  const [, navigate] = useLocation();
  useTitle("Sessions", project.value?.name);
  const own = new URLSearchParams([...params].filter(([name]) => FILTERS.includes(name)));
  const shown = chips(own, duration);
  const choose = (parameter: string, value: string, isExcluded: boolean): void =>
    update(filterBy(params, parameter, value, isExcluded), { push: true });
  const query = {
    query: params.get("query") ?? undefined,
    ...filterQuery(own),
    has_error: params.get("has_error") ?? undefined,
    sort_by: params.get("sort_by") ?? undefined,
    sort_order: params.get("sort_order") ?? undefined,
  };
  const pages = usePages<SessionListItem>("sessions", { ...query, include: INCLUDE }, { keepPrevious: true });
  const { rows } = pages;
  const open = (id: string): void => navigate(`${projectPath("sessions")}/${encodeURIComponent(id)}`);
  const { at, go } = useMark(rows.map((row) => row.session_id));
  const group = "Sessions";
  useCommands([
    { keys: "j", label: "Next session", group, hidden: true, run: () => go(at + 1) },
    { keys: "k", label: "Previous session", group, hidden: true, run: () => go(at - 1) },
    { keys: "Enter", label: "Open the session", group, hidden: true, run: () => rows[at] && open(rows[at].session_id) },
    { keys: "o", label: "Open the session", group, run: () => rows[at] && open(rows[at].session_id) },
    { keys: "/", label: "Find a session", group, run: () => document.getElementById("find-session")?.focus() },
  ]);
  useCurl(group, "the list", "sessions", query);
  const by = params.get("sort_by") ?? "recent";
  const descending = params.get("sort_order") !== "asc";
  const columns: Column<SessionListItem>[] = [
    {
      id: "session",
      label: "Session",
      className: "c-name",
      cell: (row) => (
        <Link href={row.session_id === "" ? `${projectPath("traces")}?session_id=` : `${projectPath("sessions")}/${encodeURIComponent(row.session_id)}`} title={row.session_id}>
          {shownValue(row.session_id)}
        </Link>
      ),
    },
    {
      id: "input",
      label: "First input",
      className: "c-preview c-tight",
      cell: (row) => (row.input_preview ? <span title={row.input_preview}>{row.input_preview}</span> : <span class="none">{NONE}</span>),
    },
    { id: "failed", label: "Failed", cell: (row) => (row.has_error ? <span class="bad-text" title="failed">✕<span class="sr"> failed</span></span> : row.has_failed_span ? <span class="bad-text" title="No trace of it failed, but a span">spans</span> : "no") },
    { id: "traces", label: "Traces", sort: "trace_count", className: "c-number", cell: (row) => count(row.trace_count) },
    { id: "user", label: "User", className: "c-value", cell: (row) => (row.user_id === null ? <span class="none">{NONE}</span> : <Value class="value" text={row.user_id} choose={(isExcluded) => choose("user_id", row.user_id!, isExcluded)} />) },
    { id: "latency", label: "Latency", sort: "latency", className: "c-number", cell: (row) => <span title={row.total_latency_ms === null ? NOT_ENDED : "in all of its traces"}>{duration(row.total_latency_ms)}</span> },
    { id: "tokens", label: "Tokens", className: "c-number", cell: (row) => count(row.total_tokens) },
    {
      id: "cost",
      label: "Cost",
      sort: "cost",
      className: "c-number",
      cell: (row) => <span title={costHint(row.total_cost, row.unpriced_span_count)}>{cost(row.total_cost, row.unpriced_span_count)}</span>,
    },
    {
      id: "recent",
      label: "Last trace",
      sort: "recent",
      className: "c-time",
      cell: (row) => <time title={row.last_trace_at === null ? NOT_ENDED : fullInstant(row.last_trace_at)}>{ago(row.last_trace_at)}</time>,
    },
    { id: "tags", label: "Tags", className: "c-tags", cell: (row) => <Fitting title={row.tags}>{row.tags.map((tag) => <Value class="tag" key={tag} text={tag} choose={(isExcluded) => choose("tags", tag, isExcluded)} />)}</Fitting> },
    { id: "scores", label: "Scores", className: "c-scores c-tight", cell: (row) => <ScoreLine scores={row.scores} /> },
  ];
  const isFiltered = query.query || shown.length > 0 || query.has_error;
  return (
    <div class="list">
      <div class="list-main">
        <header class="title">
          <h1>Sessions</h1>
          <Total of={pages} what="session" />
          <input
            id="find-session"
            type="search"
            aria-label="Find a session by its id"
            placeholder="Find a session by its id"
            value={query.query ?? ""}
            onInput={(event) => update({ query: event.currentTarget.value || null })}
          />
          <Button aria-pressed={query.has_error === "true"} onClick={() => update({ has_error: query.has_error ? null : "true" }, { push: true })}>
            Failed
          </Button>
          <Chips chips={shown} url={url} />
          <Link class="button" href={`${projectPath("runs")}/new${changed(location.search, { of: "sessions", sort_by: null, sort_order: null })}`}>Score …</Link>
        </header>
        <Paged
          of={pages}
          what="sessions"
          empty={
            pages.hasMore ? (
              <Empty title="No session among the newest traces matches">
                <Button disabled={pages.isReading} onClick={pages.more}>Look among older ones</Button>
              </Empty>
            ) : (
              <Empty title={isFiltered ? "No session matches" : "No session yet"}>
                {isFiltered ? (
                  <Button onClick={() => update({ ...withoutFilters(params), query: null }, { push: true })}>Drop all filters</Button>
                ) : (
                  <p>Traces with the same session_id are a session.</p>
                )}
              </Empty>
            )
          }
        >
          {() => (
            <VirtualTable<SessionListItem>
              label="Sessions"
              rows={rows}
              total={Math.max(pages.total, rows.length)}
              columns={columns}
              rowKey={(row) => row.session_id}
              at={at}
              rowClass={(row) => (row.has_error ? "failed" : "")}
              sortedBy={by}
              descending={descending}
              onSort={(sort) => update({ sort_by: sort, sort_order: by === sort && descending ? "asc" : null }, { push: true })}
              onNearEnd={pages.more}
            />
          )}
        </Paged>
      </div>
    </div>
  );
}
