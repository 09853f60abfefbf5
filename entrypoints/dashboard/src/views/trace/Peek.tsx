/** A trace next to the list, while the keys go on through the list. */
import type { JSX } from "preact";
import { lazy } from "../../lazy.tsx";
import { Button } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";

const PeekedTrace = lazy(async () => {
  const { Trace } = await import("./index.ts");
  return ({ id }: { id: string }) => <Trace key={id} id={id} isPeek />;
}, "the trace");

export function Peek({ id, close }: { id: string; close: () => void }): JSX.Element {
  return (
    <aside class="peek" aria-label="Selected trace">
      <p class="peek-bar">
        <Link href={`${projectPath("traces")}/${id}`}>Open</Link>
        <Button class="quiet" icon="close" label="Close the peek" onClick={close} />
      </p>
      <PeekedTrace id={id} />
    </aside>
  );
}
