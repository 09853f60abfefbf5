/** From a trace to the next one of its list, and to the comparison with another run of its name. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { request } from "../../api/client.ts";
import type { TraceListItem } from "../../api/types.d.ts";
import { projectId } from "../../api/session.ts";
import { useCommands } from "../../lib/keys.ts";
import { shownList } from "../../lib/shown-list.ts";
import { announce, Button, Dialog, Failed, Form, valueTo } from "../../ui/basics.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { remark } from "../../ui/table/VirtualTable.tsx";

interface Page {
  items: TraceListItem[];
}

interface Located {
  trace_id: string;
  name: string;
  started_at: string;
}

/** The trace that comes before or after it: in the list that it was opened from, else by start. */
async function neighbour(trace: Located, by: 1 | -1): Promise<string | null> {
  const list = shownList.peek();
  const at = list?.project === projectId.peek() ? list.ids.indexOf(trace.trace_id) : -1;
  if (list && at >= 0) return list.ids[at + by] ?? null;
  const query = by > 0 ? { started_before: trace.started_at } : { started_after: trace.started_at, sort_order: "asc" };
  const page = await request<Page>("GET", "traces", { query: { ...query, limit: 2 } });
  return page.items.find((one) => one.trace_id !== trace.trace_id)?.trace_id ?? null;
}

type Run = "before" | "after" | "succeeded";

/** Another trace with the same name. */
async function otherRun(trace: Located, which: Run): Promise<string | null> {
  const query = {
    names: [trace.name],
    limit: 2, // it may be one of them
    ...(which === "after" ? { started_after: trace.started_at, sort_order: "asc" } : { started_before: trace.started_at }),
    ...(which === "succeeded" ? { has_error: false } : {}),
  };
  const page = await request<Page>("GET", "traces", { query });
  return page.items.find((one) => one.trace_id !== trace.trace_id)?.trace_id ?? null;
}

export function Neighbours({ trace }: { trace: Located }): JSX.Element {
  const [, navigate] = useLocation();
  const list = shownList.value;
  const at = list?.project === projectId.value ? list.ids.indexOf(trace.trace_id) : -1;
  const go = async (by: 1 | -1): Promise<void> => {
    try {
      const found = await neighbour(trace, by);
      if (found === null) announce(by > 0 ? "There is no trace after this one" : "There is no trace before this one");
      else {
        remark(found);
        navigate(`${projectPath("traces")}/${found}`);
      }
    } catch {
      announce("The service does not answer");
    }
  };
  const group = "Trace";
  useCommands([
    { keys: "]", label: "Next trace of the list", group, run: () => void go(1) },
    { keys: "[", label: "Previous trace of the list", group, run: () => void go(-1) },
  ]);
  return (
    <span class="neighbours">
      <Button class="quiet" icon="left" label="Previous trace of the list ([)" disabled={at === 0} onClick={() => void go(-1)} />
      {list && at >= 0 && <small>{at + 1} of {list.ids.length}</small>}
      <Button class="quiet" icon="right" label="Next trace of the list (])" disabled={at >= 0 && at === list!.ids.length - 1} onClick={() => void go(1)} />
    </span>
  );
}

const RUNS: { which: Run; label: string }[] = [
  { which: "before", label: "The run before, of this name" },
  { which: "after", label: "The run after, of this name" },
  { which: "succeeded", label: "The last run of this name that didn’t fail" },
];

/** The other trace stands left where it came before: differences read from earlier to later. */
export function CompareWith({ trace }: { trace: Located }): JSX.Element {
  const [, navigate] = useLocation();
  const [asking, ask] = useState(false);
  const [other, setOther] = useState("");
  const [error, setError] = useState<unknown>(null);
  useCommands([{ keys: "c", label: "Compare with another trace", group: "Trace", run: () => ask(true) }]);
  const compare = async (which: Run): Promise<void> => {
    setError(null);
    try {
      const found = await otherRun(trace, which);
      if (found === null) return setError(new Error(`There is no other trace named ${trace.name} there`));
      const [left, right] = which === "after" ? [trace.trace_id, found] : [found, trace.trace_id];
      navigate(projectPath(`compare/${left}/${right}`));
    } catch (reason) {
      setError(reason);
    }
  };
  return (
    <>
      <Button onClick={() => ask(true)}>Compare …</Button>
      {asking && (
        <Dialog title={`Compare ${trace.name} with`} close={() => ask(false)}>
          <ul class="choices">
            {RUNS.map(({ which, label }, index) => (
              <li key={which}>
                <Button autoFocus={index === 0} onClick={() => void compare(which)}>{label}</Button>
              </li>
            ))}
          </ul>
          <Form send={() => {
              navigate(projectPath(`compare/${encodeURIComponent(other.trim())}/${trace.trace_id}`));
            }}>
            <label>
              The id of a trace
              <input required value={other} onInput={valueTo(setOther)} />
            </label>
            <p class="actions">
              <Button type="submit" class="main">Compare</Button>
            </p>
          </Form>
          <Failed of={{ error }} />
        </Dialog>
      )}
    </>
  );
}
