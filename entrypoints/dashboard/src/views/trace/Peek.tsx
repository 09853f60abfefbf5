/** A trace next to the list, while the keys go on through the list. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Button, FailureBox, Loading } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";

type TraceView = typeof import("../later.ts").Trace;

export function Peek({ id, close }: { id: string; close: () => void }): JSX.Element {
  const [View, setView] = useState<{ view: TraceView } | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    import("../later.ts").then(({ Trace }) => setView({ view: Trace }), setError);
  }, []);
  return (
    <aside class="peek" aria-label="Selected trace">
      <p class="peek-bar">
        <Link href={`${projectPath("traces")}/${id}`}>Open</Link>
        <Button class="quiet" icon="close" label="Close the peek" onClick={close} />
      </p>
      {error !== null && <FailureBox error={error} />}
      {View === null ? <Loading what="the trace" /> : <View.view key={id} id={id} isPeek />}
    </aside>
  );
}
