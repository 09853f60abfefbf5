/** The audit log, filtered by actor, action and time; the newest entry first. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { readBlob } from "../../api/client.ts";
import { useRead } from "../../api/queries.ts";
import type { APIKeyResponse, AuditEntryResponse, OrganizationMembershipResponse } from "../../api/types.d.ts";
import { fullInstant, instant, instantOf, NONE } from "../../lib/format.ts";
import { Button, Failed, valueTo, Select } from "../../ui/basics.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { save } from "../../ui/save.ts";
import { Rows } from "../../ui/SubPages.tsx";
import { More, Total } from "../../ui/table/Paged.tsx";
import { usePages } from "../../ui/table/usePages.ts";
import { useUrlState } from "../../url/state.ts";
import { ACTIONS } from "./audit-actions.ts";
import { GROUP, lacking, type Place } from "./Organization.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const BOUNDS = ["occurred_after", "occurred_before"] as const;
const NAMES = ["action", "actor_id", ...BOUNDS] as const;

/** When a day begins in the shown zone, as the entries are shown; what isn't a day is as it is. */
function startOf(day: string | null | undefined): string | null {
  const at = instantOf(day ?? "");
  return Number.isNaN(at) ? (day ?? null) : new Date(at).toISOString();
}

export function AuditLog({ path, role }: Place): JSX.Element {
  const url = useUrlState();
  const sending = useSending();
  const why = lacking(role, "ADMIN");
  const query = Object.fromEntries(NAMES.map((name) => [name, url.params.get(name)]));
  const [action, setAction] = useState(query.action ?? ""); // while it is typed
  const people = useRead<OrganizationMembershipResponse[]>(`${path}/members`);
  const keys = useRead<APIKeyResponse[]>(`${path}/api-keys`);
  const bounds = Object.fromEntries(BOUNDS.map((name) => [name, startOf(query[name])]));
  useCurl(GROUP, "the entries", `${path}/audit-log`, { ...query, ...bounds });
  const pages = usePages<AuditEntryResponse>(`${path}/audit-log`, { ...query, ...bounds }, { enabled: why === undefined });
  if (why !== undefined) return <p class="hint">{why}: the audit log.</p>;
  const pick = (name: string) => (event: { currentTarget: { value: string } }) => url.update({ [name]: event.currentTarget.value || null }, { push: true });
  return (
    <>
      <div class="fields">
        <Field label="Action">
          {(own) => (
            <>
              <input {...own} type="search" list="audit-actions" placeholder="any" value={action} onInput={valueTo(setAction)} onChange={pick("action")} />
              <datalist id="audit-actions">{ACTIONS.map((one) => <option key={one} value={one} />)}</datalist>
            </>
          )}
        </Field>
        <Field label="Actor">
          {(own) => (
            <Select {...own} value={query.actor_id} choose={(actor) => url.update({ actor_id: actor || null }, { push: true })} options={[["", "any"], ...(people.data ?? []).map((one) => [one.user_id, one.email]), ...(keys.data ?? []).map((one) => [one.id, `key ${one.name} ${one.key_prefix}…`])]} />
          )}
        </Field>
        <Field label="From">{(own) => <input {...own} type="date" value={query.occurred_after ?? ""} onChange={pick("occurred_after")} />}</Field>
        <Field label="Before">{(own) => <input {...own} type="date" value={query.occurred_before ?? ""} onChange={pick("occurred_before")} />}</Field>
        <Button disabled={sending.isBusy} onClick={() => void sending.send(async () => save((await readBlob(`${path}/audit-log/export`)).blob, "audit-log.ndjson"))}>
          Export all
        </Button>
      </div>
      <Failed of={sending} />
      <p><Total of={pages} what="entry" words="entries" class="hint" /></p>
      <Rows
        label="Audit log"
        answer={pages}
        rows={pages.isRead ? pages.rows : undefined}
        keyOf={(one) => one.id}
        empty="No entry matches"
        cells={[
          ["When", (one) => <time dateTime={one.occurred_at} title={fullInstant(one.occurred_at)}>{instant(one.occurred_at)}</time>],
          ["Who", (one) => one.actor.name],
          ["Action", (one) => one.action.replace(/[._]/g, " ")],
          ["Target", (one) => <code>{one.resource.id}</code>],
          ["Details", (one) => Object.entries(one.detail).map(([name, value]) => <span key={name} class="tag">{name}: {value}</span>)],
          ["From", (one) => <span title={one.user_agent ?? ""}>{one.address ?? NONE}</span>],
        ]}
      />
      <More of={pages} />
    </>
  );
}
