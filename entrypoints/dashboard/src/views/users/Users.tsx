/** The users of a project, as traces name them. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { project } from "../../api/session.ts";
import type { UserSummary } from "../../api/types.d.ts";
import { shownValue } from "../../lib/filters.ts";
import { ago, count, fullInstant } from "../../lib/format.ts";
import { Button, Empty, useTitle } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { Paged, Total } from "../../ui/table/Paged.tsx";
import { usePages } from "../../ui/table/usePages.ts";
import { useMark, VirtualTable, type Column } from "../../ui/table/VirtualTable.tsx";
import { useUrlState } from "../../url/state.ts";
import { Erase, erasureProblem, Receipts } from "./Erase.tsx";
import { useCurl } from "../../ui/useCurl.ts";

export function Users(): JSX.Element {
  useTitle("Users", project.value?.name);
  const pages = usePages<UserSummary>("traces/users");
  const { params, update } = useUrlState();
  const [erasing, erase] = useState<UserSummary | null>(null);
  const problem = erasureProblem();
  const { rows } = pages;
  const { at } = useMark(rows.map((row) => row.user_id));
  useCurl("Users", "the list", "traces/users");
  const of = (page: string, user: string): string => `${projectPath(page)}?user_id=${encodeURIComponent(user)}`;
  const columns: Column<UserSummary>[] = [
    { id: "user", label: "User", className: "c-name", cell: (row) => <Link href={of("traces", row.user_id)}>{shownValue(row.user_id)}</Link> },
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
          <Total of={pages} what="user" />
          <Button onClick={() => update({ dialog: "receipts" })}>Receipts</Button>
        </header>
        <Paged of={pages} what="users" empty={<Empty title="No trace names a user yet"><p>Send user_id with a trace.</p></Empty>}>
          {() => <VirtualTable<UserSummary> label="Users" rows={rows} total={pages.total} columns={columns} rowKey={(row) => row.user_id} at={at} onNearEnd={pages.more} />}
        </Paged>
      </div>
      {erasing && <Erase user={erasing} close={() => erase(null)} />}
      {params.get("dialog") === "receipts" && <Receipts close={() => update({ dialog: null })} />}
    </div>
  );
}
