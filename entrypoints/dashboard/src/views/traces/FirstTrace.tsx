/** An empty project: how to send a first trace, in the caller's own language. Waits for it. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { ROOT, request } from "../../api/client.ts";
import { useRead } from "../../api/queries.ts";
import { project } from "../../api/session.ts";
import type { APIKeyResponse } from "../../api/types.d.ts";
import { Button, Copy, useTitle, Failed } from "../../ui/basics.tsx";
import { useSending } from "../../ui/Field.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { snippets } from "../../lib/snippets.ts";

const WAIT_MS = 2000;

export function FirstTrace(): JSX.Element {
  const [, navigate] = useLocation();
  const [chosen, choose] = useState(0);
  const name = project.value?.name ?? "";
  useTitle("First trace", name);
  const list = useRead<{ items: { trace_id: string }[] }>("traces", { limit: 1 }, { pollMs: WAIT_MS });
  const first = list.data?.items[0];
  useEffect(() => {
    if (first) navigate(`${projectPath("traces")}/${first.trace_id}`);
  }, [first?.trace_id]);
  const [key, setKey] = useState<string | null>(null);
  const sending = useSending();
  const here = project.value;
  const createKey = async (): Promise<void> => {
    const path = `organizations/${here?.organizationId}/api-keys`;
    const body = { name: "first trace", scopes: ["ingest"], project_ids: [here?.id] };
    setKey((await request<APIKeyResponse>("POST", path, { body })).raw_key);
  };
  const all = snippets(ROOT.href.replace(/\/$/, ""), name, key);
  const shown = all[chosen] ?? all[0]!;
  return (
    <div class="page first-trace">
      <h1>Send a first trace to {name}</h1>
      <p>
        Every way needs an API key in <code>$PANDAPROBE_API_KEY</code>. In development{" "}
        <code>make dev</code> prints one; elsewhere <code>pandaprobe-server key create</code> or an
        administrator makes one.
      </p>
      {here?.canManage && key === null && (
        <p>
          <Button disabled={sending.isBusy} onClick={() => void sending.send(createKey)}>Create a key</Button> that may only send traces to this project.
        </p>
      )}
      {key !== null && (
        <p role="status">
          The key is in the snippets, and is shown only now: <code>{key}</code> <Copy text={key} label="Copy the key" />
        </p>
      )}
      <Failed of={sending} />
      <div class="tabs" role="tablist" aria-label="Ways to send traces">
        {all.map((one, index) => (
          <button
            key={one.title}
            type="button"
            role="tab"
            id={`way-${index}`}
            aria-selected={index === chosen}
            aria-controls="way"
            tabIndex={index === chosen ? 0 : -1}
            onClick={() => choose(index)}
            onKeyDown={(event) => {
              const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
              if (step === 0) return;
              const next = (index + step + all.length) % all.length;
              choose(next);
              document.getElementById(`way-${next}`)?.focus();
            }}
          >
            {one.title}
          </button>
        ))}
      </div>
      <div role="tabpanel" id="way" aria-labelledby={`way-${chosen}`} class="snippet">
        <Copy text={shown.text} label={`Copy ${shown.title}`} />
        <pre tabIndex={0}>{shown.text}</pre>
      </div>
      <p class="waiting" role="status">
        <span class="pulse" aria-hidden="true" /> Waiting for the first trace …
      </p>
      <p class="hint">
        With <code>make dev</code> running, <code>make seed</code> fills the project <code>demo</code>{" "}
        with generated traces.
      </p>
    </div>
  );
}
