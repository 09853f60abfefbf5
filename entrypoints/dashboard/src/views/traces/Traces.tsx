/** The list of traces: filters, histogram, live, peek, selection. All of its state is in the URL. */
import { useInfiniteQuery, type InfiniteData } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { request } from "../../api/client.ts";
import { invalidate, prefetchOutline, queries, useRead } from "../../api/queries.ts";
import { may, project, projectId, scopeHint } from "../../api/session.ts";
import type { TraceListItem, TracePage } from "../../api/types.d.ts";
import { byName, chips, filterBy, filterQuery, PERIODS, periodStart, searchNote, shownValue, TEXT_HINT, withoutFilters, type Chip } from "../../lib/filters.ts";
import { NONE, ago, briefInstant, cost, costHint, count, duration, fullInstant, instant, latencyHint, plural, tracesText } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { lazy } from "../../lazy.tsx";
import { inOrder } from "../../lib/columns.ts";
import { columnOrder, columnWidths, hiddenColumns, moveColumn, resetColumns, resizeColumn, toggleColumn } from "../../lib/preferences.ts";
import { shownList } from "../../lib/shown-list.ts";
import { viewOf } from "../../lib/stored-views.ts";
import { Button, Dialog, Empty, Loading, Status, announce, copy, useTitle, Failed, Form, Select, valueTo } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Filters } from "../../ui/table/Filters.tsx";
import { VALUE, Value } from "../../ui/payload/Value.tsx";
import { Histogram } from "../../ui/chart/Histogram.tsx";
import { Fitting, ScoreLine } from "../../ui/ScoreBadge.tsx";
import { SavedViews } from "../../ui/table/SavedViews.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useMark, VirtualTable, type Column } from "../../ui/table/VirtualTable.tsx";
import { usePainted } from "../../ui/usePainted.ts";
import { changed, type UrlState, useUrlState } from "../../url/state.ts";
import { FirstTrace } from "./FirstTrace.tsx";
import { Peek } from "../trace/Peek.tsx";
import { useCurl } from "../../ui/useCurl.ts";
import { useNow } from "../../ui/useNow.ts";

type Page = Pick<TracePage, "items" | "total" | "total_is_at_least" | "next_cursor" | "search">;

const PAGE = 50;
const KEPT_ROWS = 2000;
const LIVE_MS = 5000;
const BATCH = 500;
const INCLUDE = "preview,scores,models,errors";

/** Some traces by their ids, or all that match. */
type Selection = ReadonlySet<string> | typeof ALL;
const ALL = "all";
const NOTHING: ReadonlySet<string> = new Set();

/** Each trace once, as it comes first. */
function once(rows: readonly TraceListItem[]): TraceListItem[] {
  const known = new Set<string>();
  return rows.filter(({ trace_id: id }) => !known.has(id) && known.add(id));
}

function isNothing(selected: Selection): boolean {
  return selected !== ALL && selected.size === 0;
}

export function Traces(): JSX.Element {
  const url = useUrlState();
  const { params, update } = url;
  const canShowNew = (params.get("sort_by") ?? "started_at") === "started_at" && params.get("sort_order") !== "asc";
  const isLive = canShowNew && params.get("live") === "1";
  const [isAtTop, setAtTop] = useState(true);
  const [selected, select] = useState<Selection>(NOTHING);
  const slidesIn = isLive && isAtTop && isNothing(selected) && params.get("peek") === null;
  const [now, renew] = useNow(slidesIn); // else its period stands still: rows would go while they are read
  const isSearch = params.has("query");
  const asked = viewOf(params.toString());
  const query = useMemo(() => {
    const start = periodStart(params.get("period"), now);
    return {
      include: INCLUDE,
      ...filterQuery(params),
      ...(start === null ? {} : { started_after: start }),
      // A search has the newest first.
      sort_by: (isSearch ? null : params.get("sort_by")) ?? undefined,
      sort_order: (isSearch ? null : params.get("sort_order")) ?? undefined,
    };
  }, [asked, now]);
  useTitle("Traces", project.value?.name);
  const queryKey = [projectId.value, "traces", "pages", query];
  const shown = useRef<string | null>(null); // the filters of the rows
  const pages = useInfiniteQuery<Page>({
    queryKey,
    initialPageParam: null,
    queryFn: ({ pageParam, signal }) =>
      request<Page>("GET", "traces", { query: { ...query, limit: PAGE, cursor: pageParam }, signal }),
    getNextPageParam: (last) => last.next_cursor,
    refetchOnMount: true,
    placeholderData: (before) => (shown.current === asked ? before : undefined), // while its period goes on
  });
  const isRead = pages.isSuccess && !pages.isPlaceholderData;
  useEffect(() => {
    if (isRead) shown.current = asked;
  }, [isRead, asked]);
  useCommands([
    {
      keys: "Escape", // also while the list isn't read yet
      label: "Close the peek, then clear the selection",
      group: "Traces",
      hidden: true,
      run: () => (params.get("peek") ? update({ peek: null }) : select(NOTHING)),
    },
  ]);
  useCurl("Traces", "the list", "traces", { ...query, include: undefined });
  useEffect(() => select((before) => (before === ALL ? NOTHING : before)), [asked]); // it was about other filters
  const head = useRead<Page>("traces", { ...query, limit: PAGE }, {
    enabled: isRead && canShowNew,
    initial: pages.data?.pages[0],
    pollMs: isLive ? LIVE_MS : LIVE_MS * 4,
  });
  const rows = useMemo(() => once(pages.data?.pages.flatMap((page) => page.items) ?? []), [pages.data]);
  const ids = useMemo(() => new Set(rows.map((row) => row.trace_id)), [rows]);
  const waiting = canShowNew ? (head.data?.items ?? []).filter((row) => !ids.has(row.trace_id)).length : 0;
  const newest = canShowNew && head.dataUpdatedAt > pages.dataUpdatedAt ? head.data : pages.data?.pages[0];
  const total = newest?.total ?? 0;
  const isAtLeast = newest?.total_is_at_least ?? false;
  /** Puts what came before what was read. What is changed or deleted later then changes in one place. */
  const accept = (): void => {
    if (waiting >= PAGE) return void pages.refetch(); // between the two there may be others
    const now = head.data;
    if (!now || !canShowNew) return;
    queries.setQueryData<InfiniteData<Page>>(queryKey, (known) => {
      if (!known) return;
      const [first, ...others] = known.pages;
      const items = now.next_cursor ? once([...now.items, ...first!.items]) : now.items;
      const page = { ...now, items: items.slice(0, KEPT_ROWS), next_cursor: first!.next_cursor };
      // A list that is live for days keeps no more than one that is scrolled.
      if (items.length >= KEPT_ROWS) return { pages: [page], pageParams: known.pageParams.slice(0, 1) };
      return { ...known, pages: [page, ...others] };
    });
  };
  useEffect(() => {
    if (slidesIn) accept();
  }, [slidesIn, head.data, waiting > 0]);
  const showNew = (): void => {
    accept();
    document.querySelector(".table")?.scrollTo({ top: 0 });
  };
  const isPainted = usePainted(pages.isSuccess);
  useEffect(() => {
    if (isPainted) whenIdle(() => void import("../trace/index.ts").catch(() => {})); // the next view opens at once
  }, [isPainted]);
  const textHint = isSearch ? TEXT_HINT : "";
  const note = searchNote(pages.data?.pages ?? [], instant);
  const isUnfiltered = Object.keys(filterQuery(params)).length === 0 && !params.get("period");
  // It stays until it has opened the trace that it waits for: the poll of this list may see it first.
  const emptyProject = useRef<string | null>(null);
  if (!isUnfiltered) emptyProject.current = null;
  else if (pages.isSuccess && total === 0) emptyProject.current = projectId.value;
  if (emptyProject.current !== null && emptyProject.current === projectId.value) return <FirstTrace />;
  return (
    <div class={`list ${params.get("peek") ? "with-peek" : ""}`}>
      <div class="list-main">
        <header class="title">
          <h1>Traces</h1>
          <span class="total" role="status">
            {pages.isSuccess ? tracesText(total, isAtLeast) : ""}
          </span>
          <Periods url={url} onChange={renew} />
          <Button icon="play" aria-pressed={isLive} disabled={!canShowNew} title={canShowNew ? "" : "Newest traces first only"} onClick={() => update({ live: isLive ? null : "1" })}>
            Live
          </Button>
          <Columns />
          <SavedViews />
          <Button disabled={isSearch} title={textHint} onClick={() => update({ dialog: "export" })}>Export …</Button>
          <Button disabled={isSearch} title={textHint} onClick={() => update({ dialog: "score" })}>Score …</Button>
          <Button disabled={isSearch} title={textHint} onClick={() => update({ dialog: "dataset" })}>Add to dataset …</Button>
          <Link href={`${projectPath("compare-groups")}?${new URLSearchParams({ a: asked.slice(1) })}`} title="Compare this filter with another">Compare with …</Link>
        </header>
        <Filters url={url} />
        <Histogram url={url} now={now} enabled={isPainted && pages.isSuccess} />
        {waiting > 0 && !slidesIn && (
          <Button class="new" onClick={showNew}>
            {waiting >= PAGE ? `${PAGE} or more new` : `${waiting} new`} <kbd>.</kbd>
          </Button>
        )}
        <Failed of={pages} />
        {pages.isPending && <Loading what="traces" />}
        {note && (
          <p class="partial" role="status">
            {note.text}{" "}
            {note.goesOn && <Button disabled={pages.isFetchingNextPage} onClick={() => void pages.fetchNextPage()}>Search on in older traces</Button>}
          </p>
        )}
        {pages.isSuccess && rows.length === 0 && !note?.goesOn && <NoMatch url={url} now={now} />}
        {rows.length > 0 && (
          <List
            url={url}
            rows={rows}
            total={total}
            isAtLeast={isAtLeast}
            query={query}
            selected={selected}
            select={select}
            showNew={showNew}
            onScrolled={setAtTop}
            more={() => {
              if (pages.hasNextPage && !pages.isFetchingNextPage && rows.length < KEPT_ROWS) void pages.fetchNextPage();
            }}
          />
        )}
        {rows.length >= KEPT_ROWS && rows.length < total && (
          <p class="hint">The first {count(rows.length)} of {tracesText(total, isAtLeast)}: filter to see others.</p>
        )}
      </div>
      {params.get("dialog") && (
        <Acting url={url} total={total} isAtLeast={isAtLeast} selected={selected === ALL ? [] : [...selected]} close={() => update({ dialog: null, run: null })} />
      )}
      {params.get("peek") && (
        <Peek id={params.get("peek")!} close={() => update({ peek: null })} />
      )}
    </div>
  );
}

/** Dialogs of a file of their own, by their name in the address. */
const DIALOGS = {
  dataset: lazy(async () => (await import("../experiments/index.ts")).AddToDataset, "the form"),
  export: lazy(async () => (await import("../manage.ts")).Exports, "the form"),
  score: lazy(async () => (await import("../runs/ScoreRun.tsx")).ScoreRun, "the form"),
};

function Acting(props: { url: UrlState; total: number; isAtLeast: boolean; selected: readonly string[]; close: () => void }): JSX.Element {
  const asked = props.url.params.get("dialog");
  const Asked = DIALOGS[asked === "dataset" || asked === "export" ? asked : "score"];
  return <Asked {...props} />;
}

const SETTLED_MS = 500; // until the rows are painted, and what belongs to them is read
const IDLE_MS = 2000;

function whenIdle(work: () => void): void {
  setTimeout(() => {
    if ("requestIdleCallback" in window) requestIdleCallback(work, { timeout: IDLE_MS });
    else work();
  }, SETTLED_MS);
}

interface ListProps {
  url: UrlState;
  rows: readonly TraceListItem[];
  total: number;
  isAtLeast: boolean; // more than `total` may match
  query: Record<string, unknown>;
  selected: Selection;
  select: (ids: Selection) => void;
  showNew: () => void;
  more: () => void;
  onScrolled: (isAtTop: boolean) => void;
}

function List(props: ListProps): JSX.Element {
  const { url, rows, selected, select } = props;
  const { params, update } = url;
  const [, navigate] = useLocation();
  const ids = rows.map((one) => one.trace_id);
  const mark = useMark(ids, params.get("peek"));
  const { at } = mark;
  const anchor = useRef("");
  useEffect(() => {
    shownList.value = { project: projectId.peek() ?? "", search: location.search, ids };
  }, [rows, params]);
  const row = rows[at];
  const isSelected = (one: TraceListItem): boolean => selected === ALL || selected.has(one.trace_id);
  const go = (to: number): void => {
    const next = mark.go(to);
    if (params.get("peek") && next) update({ peek: next });
  };
  const toggle = (index: number, extend: boolean): void => {
    const next = new Set(selected === ALL ? ids : selected);
    const anchored = extend ? ids.indexOf(anchor.current) : -1;
    const from = anchored >= 0 ? anchored : index;
    const adds = !next.has(ids[index]!);
    for (let i = Math.min(from, index); i <= Math.max(from, index); i++) {
      const id = ids[i]!;
      if (adds) next.add(id);
      else next.delete(id);
    }
    anchor.current = ids[index]!;
    select(next);
  };
  const choose = (parameter: string, value: string, isExcluded: boolean): void =>
    update({ ...filterBy(params, parameter, value, isExcluded), peek: null }, { push: true });
  const open = (id: string): void => navigate(`${projectPath("traces")}/${id}`);
  /** By the name or the value that has the focus. */
  const chooseFocused = (isExcluded: boolean): void => {
    const held = document.activeElement;
    const within = held?.closest<HTMLElement>("tr[data-index]");
    const name = held?.closest(".c-name") && rows[Number(within?.dataset["index"])]?.name;
    if (name) update({ ...(isExcluded ? filterBy(params, "name", name, true) : byName(name)), peek: null }, { push: true });
    else if (within && held?.matches(VALUE)) held.dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: isExcluded }));
    else announce("Move the focus to a name or a value of the list");
  };
  const compare = (): void => {
    const pair = rows.filter((one) => isSelected(one)).sort((a, b) => (a.started_at < b.started_at ? -1 : 1));
    if (selected === ALL || selected.size !== 2 || pair.length !== 2) return announce("Select two traces to compare them");
    navigate(projectPath(`compare/${pair[0]!.trace_id}/${pair[1]!.trace_id}`));
  };
  const group = "Traces";
  useCommands([
    { keys: "j", label: "Next trace", group, hidden: true, run: () => go(at + 1) },
    { keys: "ArrowDown", label: "Next trace", group, hidden: true, run: () => go(at + 1) },
    { keys: "k", label: "Previous trace", group, hidden: true, run: () => go(at - 1) },
    { keys: "ArrowUp", label: "Previous trace", group, hidden: true, run: () => go(at - 1) },
    { keys: "Enter", label: "Open the trace", group, hidden: true, run: () => row && open(row.trace_id) },
    { keys: "o", label: "Open the trace", group, run: () => row && open(row.trace_id) },
    {
      keys: "Space",
      label: "Peek into the trace",
      group,
      run: () => row && update({ peek: params.get("peek") === row.trace_id ? null : row.trace_id }),
    },
    { keys: "x", label: "Select the trace", group, run: () => row && toggle(at, false) },
    { keys: "Shift+x", label: "Select up to this trace", group, run: () => row && toggle(at, true) },
    { keys: "f", label: "Filter by the focused name or value", group, run: () => chooseFocused(false) },
    { keys: "Shift+f", label: "Exclude the focused name or value", group, run: () => chooseFocused(true) },
    { keys: "c", label: "Compare two selected traces", group, run: compare },
    { keys: ".", label: "Show new traces", group, run: props.showNew },
    { keys: "l", label: "Live on or off", group, run: () => update({ live: params.get("live") ? null : "1" }) },
  ]);
  const columns = useColumns(props, isSelected, choose, toggle);
  const by = params.get("sort_by") ?? "started_at";
  const descending = params.get("sort_order") !== "asc";
  return (
    <>
      <VirtualTable<TraceListItem>
        label="Traces"
        rows={rows}
        total={props.total}
        columns={columns}
        rowKey={(one) => one.trace_id}
        at={at}
        rowClass={(one) =>
          `${one.status === "ERROR" || one.has_failed_span ? "failed " : ""}${isSelected(one) ? "selected " : ""}${params.get("peek") === one.trace_id ? "peeked" : ""}`
        }
        sortedBy={by}
        descending={descending}
        onSort={(sort) => update({ sort_by: sort, sort_order: by === sort && descending ? "asc" : null }, { push: true })}
        onColumn={(id, act, width) => {
          if (act === "left" || act === "right") {
            moveColumn(columns.map((one) => one.id), id, act === "left" ? -1 : 1);
            announce(`Moved the column to the ${act}`);
          } else if (act === "wider" || act === "narrower") resizeColumn(id, width, act === "wider" ? 1 : -1);
          else if (act === "hide") toggleColumn(id);
          else update({ sort_by: columns.find((one) => one.id === id)?.sort ?? null, sort_order: act === "ascending" ? "asc" : null }, { push: true });
        }}
        onNearEnd={props.more}
        onScrolled={props.onScrolled}
        onPoint={(one) => prefetchOutline(one.trace_id)}
      />
      {!isNothing(selected) && <SelectionActs {...props} compare={compare} />}
    </>
  );
}

function useColumns(
  props: ListProps,
  isSelected: (row: TraceListItem) => boolean,
  choose: (parameter: string, value: string, isExcluded: boolean) => void,
  toggle: (index: number, extend: boolean) => void,
): Column<TraceListItem>[] {
  const { rows } = props;
  const slowest = useMemo(() => Math.max(1, ...rows.map((row) => row.latency_ms ?? 0)), [rows]);
  const value = (text: string | null, parameter: string): JSX.Element =>
    text === null ? (
      <span class="none">{NONE}</span>
    ) : (
      <Value class="value" text={text} choose={(isExcluded) => choose(parameter, text, isExcluded)} />
    );
  const all: Column<TraceListItem>[] = [
    {
      id: "select",
      isFixed: true,
      label: "Selected",
      isHiddenLabel: true,
      className: "c-select",
      cell: (row, index) => (
        <input
          type="checkbox"
          aria-label={`Select ${row.name}`}
          checked={isSelected(row)}
          onClick={(event) => toggle(index, event.shiftKey)}
        />
      ),
    },
    { id: "status", label: "Status", sort: "status", className: "c-status", cell: (row) => <Status value={row.status} short /> },
    {
      id: "name",
      isKept: true,
      label: "Name",
      sort: "name",
      className: "c-name",
      cell: (row) => (
        <Link href={`${projectPath("traces")}/${row.trace_id}`} title={row.name}>
          {shownValue(row.name)}
        </Link>
      ),
    },
    { id: "input", label: "Input", className: "c-preview", cell: (row) => <Preview text={row.input_preview} /> },
    { id: "output", label: "Output", className: "c-preview", cell: (row) => <Preview text={row.output_preview} /> },
    {
      id: "started_at",
      label: "Started",
      sort: "started_at",
      className: "c-time",
      cell: (row) => <time title={`${ago(row.started_at)} · ${fullInstant(row.started_at)}`} dateTime={row.started_at}>{briefInstant(row.started_at)}</time>,
    },
    {
      id: "latency",
      label: "Latency",
      sort: "latency",
      className: "c-number c-latency",
      cell: (row) => (
        <span class="latency" title={latencyHint(row)}>
          <span class="latency-bar" style={{ width: `${((row.latency_ms ?? 0) / slowest) * 100}%` }} />
          {duration(row.latency_ms)}
        </span>
      ),
    },
    { id: "spans", label: "Spans", sort: "span_count", className: "c-number", cell: (row) => count(row.span_count) },
    {
      id: "errors",
      label: "Errors",
      className: "c-number",
      cell: (row) => (row.error_count ? <span class="bad-text">{count(row.error_count)}</span> : count(row.error_count)),
    },
    { id: "tokens", label: "Tokens", className: "c-number", cell: (row) => count(row.total_tokens) },
    {
      id: "cost",
      label: "Cost",
      className: "c-number",
      cell: (row) => (
        <span title={costHint(row.total_cost, row.unpriced_span_count)}>{cost(row.total_cost, row.unpriced_span_count)}</span>
      ),
    },
    {
      id: "models",
      label: "Models",
      className: "c-models",
      cell: (row) => (row.models?.length ? row.models.map((one) => <span key={one}>{value(one, "model")} </span>) : <span class="none">{NONE}</span>),
    },
    { id: "session_id", label: "Session", className: "c-value", cell: (row) => value(row.session_id, "session_id") },
    { id: "user_id", label: "User", className: "c-value", cell: (row) => value(row.user_id, "user_id") },
    { id: "environment", label: "Environment", className: "c-value", cell: (row) => value(row.environment, "environment") },
    { id: "release", label: "Release", className: "c-value", cell: (row) => value(row.release, "release") },
    {
      id: "tags",
      label: "Tags",
      className: "c-tags",
      cell: (row) => (
        <Fitting title={row.tags}>
          {row.tags.map((tag) => <Value key={tag} class="tag" text={tag} choose={(isExcluded) => choose("tags", tag, isExcluded)} />)}
        </Fitting>
      ),
    },
    {
      id: "scores",
      label: "Scores",
      className: "c-scores",
      cell: (row) => <ScoreLine scores={row.scores} />,
    },
    { id: "ended_at", label: "Ended", sort: "ended_at", className: "c-time", cell: (row) => briefInstant(row.ended_at) },
  ];
  const shown = inOrder(all, columnOrder.value).filter((one) => !hiddenColumns.value.has(one.id));
  return shown.map((one) => ({ ...one, width: columnWidths.value[one.id] }));
}

const CHOOSABLE = ["status", "input", "output", "started_at", "latency", "spans", "errors", "tokens", "cost", "models", "session_id", "user_id", "environment", "release", "tags", "scores", "ended_at"];

function Columns(): JSX.Element {
  const [isOpen, setOpen] = useState(false);
  return (
    <details class="menu" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Columns</summary>
      {isOpen && <div class="pop">
        {CHOOSABLE.map((name) => (
          <label key={name} class="check">
            <input type="checkbox" checked={!hiddenColumns.value.has(name)} onChange={() => toggleColumn(name)} />
            {name.replace(/_id$|_at$/, "").replace(/^./, (letter) => letter.toUpperCase())}
          </label>
        ))}
        {(columnOrder.value.length > 0 || Object.keys(columnWidths.value).length > 0) && (
          <Button class="link" onClick={resetColumns}>
            Usual order and widths
          </Button>
        )}
      </div>}
    </details>
  );
}

function Preview({ text }: { text: string | null | undefined }): JSX.Element {
  return text ? <span title={text}>{text}</span> : <span class="none">{NONE}</span>;
}

export function Periods({ url, label = "Period", onChange }: { url: UrlState; label?: string; onChange?: () => void }): JSX.Element {
  const own = url.params.has("started_after") || url.params.has("started_before");
  return (
    <Select
      aria-label={label}
      value={own ? "own" : url.params.get("period")}
      choose={(period) => {
        onChange?.();
        url.update({ period: period || null, started_after: null, started_before: null }, { push: true });
      }}
      options={[
        ["", "Any time"],
        ...PERIODS.map((one) => [one.id, `Last ${one.label}`]),
        ...(own ? [["own", `${instant(url.params.get("started_after"))} to ${instant(url.params.get("started_before"))}`]] : []),
      ]}
    />
  );
}

function NoMatch({ url, now }: { url: UrlState; now: number }): JSX.Element {
  const { params, update } = url;
  const shown = chips(params, duration);
  const isOwn = params.has("started_after") || params.has("started_before");
  const period = { label: "the period", drop: { period: null, started_after: null, started_before: null } };
  const all = params.has("period") || isOwn ? [...shown, period] : shown;
  return (
    <Empty title="No trace matches these filters">
      {all.length > 1 && (
        <ul class="choices">
          {all.map((chip) => (
            <li key={chip.label}>
              <Without chip={chip} url={url} now={now} />
            </li>
          ))}
        </ul>
      )}
      <Button onClick={() => update(withoutFilters(params), { push: true })}>Drop all filters</Button>
    </Empty>
  );
}

/** How many traces match without one of the filters. */
function Without({ chip, url, now }: { chip: Chip; url: UrlState; now: number }): JSX.Element {
  const params = new URLSearchParams(changed(location.search, chip.drop));
  const start = periodStart(params.get("period"), now);
  const answer = useRead<Page>("traces", { ...filterQuery(params), ...(start === null ? {} : { started_after: start }), limit: 1 });
  return (
    <Button onClick={() => url.update(chip.drop, { push: true })}>
      Drop {chip.label}
      {answer.data && <small> {tracesText(answer.data.total, answer.data.total_is_at_least)}</small>}
    </Button>
  );
}

/** What can be done with the selected traces. Where ids are needed, those of "all" are read first. */
function SelectionActs(props: ListProps & { compare: () => void }): JSX.Element {
  const { selected, select, total, isAtLeast, query } = props;
  const [asking, ask] = useState<"tag" | "delete" | null>(null);
  const [tag, setTag] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState("");
  const isAll = selected === ALL;
  const size = isAll ? total : selected.size;
  const chosen = tracesText(size, isAll && isAtLeast);
  const canDelete = may("ingest") && may("read");
  useCommands([{ keys: "d", label: "Delete the selected traces", group: "Traces", run: () => canDelete && ask("delete") }]);
  const readIds = async (): Promise<string[]> => {
    if (selected !== ALL) return [...selected];
    const found = new Set<string>();
    let cursor: string | null = null;
    do {
      const page: Page = await request<Page>("GET", "traces", { query: { ...query, include: undefined, limit: 200, cursor } });
      for (const item of page.items) found.add(item.trace_id);
      cursor = page.next_cursor;
      setBusy(`${count(found.size)} of ${count(page.total)} …`);
    } while (cursor !== null);
    return [...found];
  };
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    setError(null);
    setBusy("Working …");
    try {
      await work();
    } catch (reason) {
      setError(reason);
    }
    setBusy("");
  };
  const canAct = !isAll || !props.url.params.has("query");
  const inBatches = async (path: string, body: Record<string, unknown>, done: string): Promise<void> => {
    const ids = await readIds();
    for (let start = 0; start < ids.length; start += BATCH) {
      await request("POST", path, { body: { ...body, trace_ids: ids.slice(start, start + BATCH) } });
      setBusy(`${count(Math.min(ids.length, start + BATCH))} of ${count(ids.length)} …`);
    }
    announce(`${done} ${plural(ids.length, "trace")}`);
    select(NOTHING);
    ask(null);
    await invalidate("traces");
  };
  return (
    <div class="acts" role="region" aria-label="Selected traces">
      <strong>{isAll && !isAtLeast ? `All ${chosen} that match` : chosen} selected</strong>
      {size < total && (
        <Button class="link" disabled={busy !== ""} onClick={() => select(ALL)}>
          {isAtLeast ? "Select all that match" : `Select all ${count(total)}`}
        </Button>
      )}
      {!isAll && size === 2 && <Button onClick={props.compare}>Compare</Button>}
      <Button disabled={!may("ingest")} title={scopeHint("ingest")} onClick={() => ask("tag")}>Tag …</Button>
      <Button disabled={!canAct} title={canAct ? "" : TEXT_HINT} onClick={() => props.url.update({ dialog: "score" })}>Score …</Button>
      <Button disabled={!canAct} title={canAct ? "" : TEXT_HINT} onClick={() => props.url.update({ dialog: "export" })}>Export …</Button>
      <Button disabled={!canAct} title={canAct ? "" : TEXT_HINT} onClick={() => props.url.update({ dialog: "dataset" })}>Add to dataset …</Button>
      <Button disabled={busy !== ""} onClick={() => void attempt(async () => copy((await readIds()).join("\n"), `Copied the ids of ${chosen}`))}>Copy ids</Button>
      <Button class="danger" disabled={!canDelete} title={scopeHint("ingest", "read")} onClick={() => ask("delete")}>
        Delete …
      </Button>
      <Button class="link" onClick={() => select(NOTHING)}>
        Clear
      </Button>
      <span role="status">{busy}</span>
      {asking === "tag" && (
        <Dialog title={`Tag ${chosen}`} close={() => ask(null)}>
          <Form send={() => attempt(() => inBatches("traces/batch/tags", { add_tags: [tag.trim()] }, "Tagged"))}>
            <label>
              Tag to add
              <input required maxLength={255} autoFocus value={tag} onInput={valueTo(setTag)} />
            </label>
            <p class="actions">
              <Button type="submit" class="main" disabled={busy !== ""}>
                Add the tag
              </Button>
            </p>
          </Form>
          <Failed of={{ error }} />
        </Dialog>
      )}
      {asking === "delete" && (
        <Dialog title={`Delete ${chosen}?`} close={() => ask(null)}>
          <p>Their spans and scores are deleted too. This can’t be undone.</p>
          <p class="actions">
            <Button autoFocus onClick={() => ask(null)}>
              Cancel
            </Button>
            <Button
              class="danger"
              disabled={busy !== ""}
              onClick={() => void attempt(() => inBatches("traces/batch/delete", {}, "Deleted"))}
            >
              Delete {chosen}
            </Button>
          </p>
          <Failed of={{ error }} />
        </Dialog>
      )}
    </div>
  );
}
