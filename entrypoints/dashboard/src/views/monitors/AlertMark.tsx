/** Says in the navigation that alerts of the project fire. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useRead } from "../../api/queries.ts";
import { plural } from "../../lib/format.ts";

const POLL_MS = 60_000;
const WAIT_MS = 2000; // the view asks first

export function AlertMark(): JSX.Element | null {
  const [enabled, enable] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => enable(true), WAIT_MS);
    return () => clearTimeout(timer);
  }, []);
  const firing = useRead<{ total: number }>("evaluations/alerts", { state: "ALERTING", limit: 1 }, { enabled, pollMs: POLL_MS });
  const total = firing.data?.total ?? 0;
  const text = `${plural(total, "alert fires", "alerts fire")}`;
  return total === 0 ? null : <b class="bad-text" role="img" aria-label={text} title={text}>●</b>;
}
