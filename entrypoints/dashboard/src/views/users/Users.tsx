/** The users of a project, as traces name them. */
import { useInfiniteQuery } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { curl, request } from "../../api/client.ts";
import { project, projectId } from "../../api/session.ts";
import type { UserSummary } from "../../api/types.d.ts";
import { ago, count, fullInstant, plural } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { Button, copy, Empty, Loading, useTitle, Failed } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useMark, VirtualTable, type Column } from "../../ui/table/VirtualTable.tsx";
import { useUrlState } from "../../url/state.ts";
import { Erase, erasureProblem, Receipts } from "./Erase.tsx";

interface Page {
  items: UserSummary[];
  total: number;
  next_cursor: string | null;
}

export function Users(): JSX.Element {
  useTitle("Users", project.value?.name);
  const pages = useInfiniteQuery<Page>({
    queryKey: [projectId.value, "traces/users", "pages"],
    initialPageParam: null,
    queryFn: ({ pageParam, signal }) => request<Page>("GET", "traces/users", { query: { limit: 50, cursor: pageParam }, signal }),
    getNextPageParam: (last) => last.next_cursor,
  });
  const { params, update } = useUrlState();
  const [erasing, erase] = useState<UserSummary | null>(null);
  const problem = erasureProblem();
  const rows = pages.data?.pages.flatMap((page) => page.items) ?? [];
  const total = pages.data?.pages[0]?.total ?? 0;
  const { at } = useMark(rows.map((row) => row.user_id));
  useCommands([
    { keys: "Shift+c", label: "Copy the list as curl", group: "Users", run: () => void copy(curl("traces/users", {}, project.value?.name ?? ""), "Copied as curl") },
  ]);
  const of = (page: string, user: string): string => `${projectPath(page)}?user_id=${encodeURIComponent(user)}`;
  const columns: Column<UserSummary>[] = [
    { id: "user", label: "User", className: "c-name", cell: (row) => <Link href={of("traces", row.user_id)}>{row.user_id}</Link> },
    { id: "traces", label: "Traces", className: "c-number", cell: (row) => count(row.trace_count) },
    { id: "failures", label: "Failed", className: "c-number", cell: (row) => <span class={row.error_count > 0 ? "bad-text" : ""}>{count(row.error_count)}</span> },
    { id: "first", label: "First seen", className: "c-time", cell: (row) => <time title={fullInstant(row.first_seen)}>{ago(row.first_seen)}</time> },
    { id: "last", label: "Last seen", className: "c-time", cell: (row) => <time title={fullInstant(row.last_seen)}>{ago(row.last_seen)}</time> },
    { id: "sessions", label: "Sessions", cell: (row) => <Link href={of("sessions", row.user_id)}>sessions</Link> },
    {
      id: "erase",
      label: "Erase",
      isHiddenLabel: true,
      cell: (row) => (
        <button type="button" class="link danger" aria-label={`Erase ${row.user_id}`} disabled={problem !== null} title={problem ?? "Delete all data of this user"} onClick={() => erase(row)}>
          Erase …
        </button>
      ),
    },
  ];
  return (
    <div class="list">
      <div class="list-main">
        <header class="title">
          <h1>Users</h1>
          <span class="total" role="status">{pages.isSuccess ? plural(total, "user") : ""}</span>
          <Button onClick={() => update({ dialog: "receipts" })}>Receipts</Button>
        </header>
        <Failed of={pages} />
        {pages.isPending && <Loading what="users" />}
        {pages.isSuccess && rows.length === 0 && (
          <Empty title="No trace names a user yet">
            <p>Send user_id with a trace.</p>
          </Empty>
        )}
        {rows.length > 0 && (
          <VirtualTable<UserSummary>
            label="Users"
            rows={rows}
            total={total}
            columns={columns}
            rowKey={(row) => row.user_id}
            at={at}
            onNearEnd={() => {
              if (pages.hasNextPage && !pages.isFetchingNextPage) void pages.fetchNextPage();
            }}
          />
        )}
      </div>
      {erasing && <Erase user={erasing} close={() => erase(null)} />}
      {params.get("dialog") === "receipts" && <Receipts close={() => update({ dialog: null })} />}
    </div>
  );
}
