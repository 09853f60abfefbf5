/** All alerts of a project by state, their changes, and the webhooks that get them. */
import type { JSX } from "preact";
import { useRead } from "../../api/queries.ts";
import { project } from "../../api/session.ts";
import type { AlertResponse, AlertState, PaginatedResponse_AlertChangeResponse_, PaginatedResponse_AlertResponse_, PaginatedResponse_MonitorResponse_ } from "../../api/types.d.ts";
import { ago, fullInstant, plural, score } from "../../lib/format.ts";
import { Button, Empty, Loading, useTitle, Failed } from "../../ui/basics.tsx";
import { Modes } from "../../ui/Modes.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState } from "../../url/state.ts";
import { ChangeList } from "./Monitor.tsx";
import { State, ruleWords } from "./parts.tsx";
import { Webhooks } from "./Webhooks.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const PAGE = 50;
const CHANGES = 20;
const POLL_MS = 15_000;
const NAMES_MAX = 200; // monitors of one page of the API
const STATES: readonly AlertState[] = ["ALERTING", "NO_DATA", "OK"];

export function Alerts(): JSX.Element {
  useTitle("Alerts", project.value?.name);
  const url = useUrlState();
  const state = STATES.find((one) => one === url.params.get("state")) ?? null;
  const query = { limit: PAGE, cursor: url.params.get("cursor") };
  useCurl("Alerts", "the list", "evaluations/alerts", { ...query, state });
  const alerts = useRead<PaginatedResponse_AlertResponse_>("evaluations/alerts", { ...query, state }, { keepPrevious: true, pollMs: POLL_MS });
  const monitors = useRead<PaginatedResponse_MonitorResponse_>("evaluations/monitors", { limit: NAMES_MAX });
  const page = alerts.data;
  const nameOf = (id: string): string => monitors.data?.items.find((one) => one.id === id)?.name ?? "monitor";
  const shown = state === null ? STATES : [state];
  return (
    <div class="page alerts">
      <header class="title">
        <h1>Alerts</h1>
        {page && <span class="hint">{plural(page.total, "alert")}</span>}
        <Modes label="State" of={[null, ...STATES]} at={state} text={(one) => one?.toLowerCase().replace("_", " ") ?? "all"} choose={(one) => url.update({ state: one, cursor: null }, { push: true })} />
      </header>
      <Failed of={alerts} />
      {alerts.isPending && <Loading what="alerts" />}
      {page?.items.length === 0 && (
        <Empty title={state === null ? "No alert yet" : "No alert is in this state"}>
          {state === null && (
            <p>
              Alerts belong to <Link href={projectPath("monitors")}>monitors</Link>: open one to make an alert.
            </p>
          )}
        </Empty>
      )}
      {page &&
        shown.map((one) => {
          const some = page.items.filter((alert) => alert.state === one);
          return some.length > 0 && <Group key={one} state={one} of={some} nameOf={nameOf} />;
        })}
      {(page?.next_cursor || query.cursor) && (
        <p class="actions">
          {query.cursor && <Button onClick={() => url.update({ cursor: null }, { push: true })}>First page</Button>}
          {page?.next_cursor && <Button onClick={() => url.update({ cursor: page.next_cursor }, { push: true })}>Next page</Button>}
        </p>
      )}
      <Latest alerts={page?.items ?? []} />
      <Webhooks url={url} />
    </div>
  );
}

function Group({ state, of, nameOf }: { state: AlertState; of: readonly AlertResponse[]; nameOf: (monitor: string) => string }): JSX.Element {
  return (
    <section aria-label={state.toLowerCase().replace("_", " ")}>
      <ul class="alert-list">
        {of.map((one) => (
          <li key={one.id}>
            <State value={one.state} />
            <span>
              <Link class="named" href={projectPath(`monitors/${one.monitor_id}`)}>{nameOf(one.monitor_id)}</Link> <strong>{one.metric}</strong> {ruleWords(one)}
              <small title={fullInstant(one.since)}>
                since {ago(one.since)}, last value {score(one.value)}
              </small>
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Latest({ alerts }: { alerts: readonly AlertResponse[] }): JSX.Element {
  const found = useRead<PaginatedResponse_AlertChangeResponse_>("evaluations/alert-changes", { limit: CHANGES }, { pollMs: POLL_MS });
  return (
    <section aria-label="Latest changes">
      <h2>Latest changes</h2>
      <Failed of={found} />
      {found.data?.items.length === 0 && <p class="none">No alert has changed its state yet.</p>}
      {found.data && <ChangeList of={found.data.items} alerts={alerts} />}
    </section>
  );
}
