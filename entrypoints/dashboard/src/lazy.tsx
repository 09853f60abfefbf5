/** Views whose files are loaded when they are first opened. */
import type { ComponentType, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { isUpdated, request } from "./api/client.ts";
import { useReturn } from "./api/queries.ts";
import { FailureBox, Loading, Updated } from "./ui/basics.tsx";

/** Why a file of the dashboard isn't there: the service is away, or has files of another version. */
export async function reasonOf(failed: unknown): Promise<unknown> {
  try {
    await request("GET", "health"); // finds out whether the service is away
    return (await isUpdated()) ? new Updated() : failed;
  } catch {
    return failed;
  }
}

export function lazy<P extends object>(load: () => Promise<ComponentType<P>>, what: string): ComponentType<P> {
  let loaded: ComponentType<P> | null = null;
  return function Lazy(props: P): JSX.Element {
    const [, again] = useState(0);
    const [error, fail] = useState<unknown>(null);
    const Loaded = loaded;
    useEffect(() => {
      // As it was drawn: another place may have loaded it since, which doesn't draw this one again.
      if (Loaded !== null || error !== null) return;
      load().then(
        (view) => {
          loaded = view;
          again((n) => n + 1);
        },
        (reason: unknown) => {
          fail(reason);
          void reasonOf(reason).then(fail);
        },
      );
    }, [error]);
    useReturn(() => fail(null)); // the file is there again
    if (error !== null) return <FailureBox error={error} again={() => fail(null)} />;
    return Loaded === null ? <Loading what={what} /> : <Loaded {...props} />;
  };
}
