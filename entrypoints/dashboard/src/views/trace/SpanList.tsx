/** The spans of a trace as a list, sorted by any column. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { cost, count, duration } from "../../lib/format.ts";
import type { TraceOutline } from "../../lib/outline.ts";
import { selfTimes, type Tree } from "../../lib/tree.ts";
import { Kind } from "../../ui/basics.tsx";
import { VirtualTable, type Column } from "../../ui/table/VirtualTable.tsx";
import type { UrlState } from "../../url/state.ts";

const SORTS = ["name", "start", "duration", "self", "tokens", "cost"] as const;

/** Names and starts begin with the least, figures with the greatest. */
function firstOrder(by: string): "asc" | "desc" {
  return by === "name" || by === "start" ? "asc" : "desc";
}

export function SpanList(props: {
  outline: TraceOutline;
  tree: Tree;
  matches: Uint8Array | null;
  selected: number;
  select: (row: number) => void;
  url: UrlState;
}): JSX.Element {
  const { outline, tree, matches, selected, select, url } = props;
  const { params, update } = url;
  const by = SORTS.find((one) => one === params.get("sort_by")) ?? "duration";
  const descending = (params.get("sort_order") ?? firstOrder(by)) === "desc";
  const sort = useMemo(() => ({ by, descending }), [by, descending]);
  const own = useMemo(() => selfTimes(tree), [tree]);
  const values: Record<string, (row: number) => number | string> = {
    name: (row) => outline.names[outline.name[tree.span[row]!]!] ?? "",
    start: (row) => tree.start[row]!,
    duration: (row) => outline.latency_us[tree.span[row]!] ?? -1,
    self: (row) => (outline.latency_us[tree.span[row]!] == null ? -1 : own[row]!),
    tokens: (row) => outline.tokens[tree.span[row]!] ?? 0,
    cost: (row) => outline.cost[tree.span[row]!] ?? -1,
  };
  const rows = useMemo(() => {
    const value = values[sort.by]!;
    const sign = sort.descending ? -1 : 1;
    const all = Array.from({ length: tree.size }, (_, row) => row).filter((row) => matches === null || matches[row] === 2);
    return all.sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      return left === right ? a - b : left < right ? -sign : sign;
    });
  }, [tree, matches, sort]);
  const at = useMemo(() => rows.indexOf(selected), [rows, selected]);
  const time = (us: number | string): string => (typeof us === "number" && us >= 0 ? duration(us / 1000) : "—");
  const columns: Column<number>[] = [
    {
      id: "name",
      label: "Span",
      sort: "name",
      className: "c-name",
      cell: (row) => (
        <button type="button" class="value" onClick={() => select(row)}>
          <Kind value={outline.kinds[outline.kind[tree.span[row]!]!] ?? "OTHER"} /> {values.name!(row)}
        </button>
      ),
    },
    { id: "start", label: "Starts after", sort: "start", className: "c-number", cell: (row) => duration(tree.start[row]! / 1000) },
    { id: "duration", label: "Duration", sort: "duration", className: "c-number", cell: (row) => time(values.duration!(row)) },
    { id: "self", label: "Self", sort: "self", className: "c-number", cell: (row) => time(values.self!(row)) },
    { id: "tokens", label: "Tokens", sort: "tokens", className: "c-number", cell: (row) => count(outline.tokens[tree.span[row]!] || null) },
    { id: "cost", label: "Cost", sort: "cost", className: "c-number", cell: (row) => cost(outline.cost[tree.span[row]!]) },
  ];
  return (
    <VirtualTable<number>
      label="Spans"
      rows={rows}
      total={rows.length}
      columns={columns}
      rowKey={String}
      at={at}
      isPart
      rowClass={(row) => (outline.has_error[tree.span[row]!] ? "failed" : "")}
      sortedBy={sort.by}
      descending={sort.descending}
      onSort={(next) => {
        const order = next !== by ? firstOrder(next) : descending ? "asc" : "desc";
        update({ sort_by: next === "duration" ? null : next, sort_order: order === firstOrder(next) ? null : order }, { push: true });
      }}
      onNearEnd={() => {}}
    />
  );
}
