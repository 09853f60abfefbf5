/** API keys: made and rotated, with the secret shown once; revoked. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { request, ROOT } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { session } from "../../api/session.ts";
import type { APIKeyResponse, KeyScope } from "../../api/types.d.ts";
import { ago, fullInstant, NONE } from "../../lib/format.ts";
import { snippets } from "../../lib/snippets.ts";
import { Button, Copy, Dialog, Failed, Form, valueTo, Select } from "../../ui/basics.tsx";
import { Confirm, type Question } from "../../ui/Confirm.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { Rows } from "../../ui/SubPages.tsx";
import { GROUP, lacking, type Place } from "./Organization.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const SCOPES: readonly (readonly [KeyScope, string])[] = [
  ["ingest", "send and change traces"],
  ["read", "read everything"],
  ["evaluate", "start evaluations and score"],
];

function scopesText(scopes: readonly KeyScope[]): string {
  return SCOPES.filter(([name]) => scopes.includes(name)).map(([, text]) => text).join(", ");
}

function projectName(id: string): string {
  const now = session.value;
  return (now.state === "in" && now.projects.find((one) => one.id === id)?.name) || "a deleted project";
}

function stateOf(one: APIKeyResponse): string {
  if (one.is_active) return "active";
  return one.expires_at !== null && Date.parse(one.expires_at) <= Date.now() ? "expired" : "revoked";
}

export function Keys(place: Place): JSX.Element {
  const { path, role } = place;
  const answer = useRead<APIKeyResponse[]>(`${path}/api-keys`);
  useCurl(GROUP, "the keys", `${path}/api-keys`);
  const [made, setMade] = useState<APIKeyResponse | null>(null);
  const [isNew, openNew] = useState(false);
  const [question, ask] = useState<Question | null>(null);
  const why = lacking(role, "ADMIN");
  const rotate = (one: APIKeyResponse): void =>
    ask({
      title: `Rotate ${one.name}?`,
      text: `You get a new key with the same name, scopes and limits for 90 days. The old one (${one.key_prefix}…) works until you revoke it or it expires.`,
      act: "Rotate",
      done: "Made the new key",
      run: async () => {
        setMade(await request<APIKeyResponse>("POST", `${path}/api-keys/${one.id}/rotate`));
        await invalidate(path);
      },
    });
  const revoke = (one: APIKeyResponse): void =>
    ask({
      title: `Revoke ${one.name}?`,
      text: `Programs that use ${one.key_prefix}… are refused within seconds. It was used ${one.last_used_at ? ago(one.last_used_at) : "never"}.`,
      act: "Revoke",
      done: `Revoked ${one.name}`,
      run: async () => {
        await request("DELETE", `${path}/api-keys/${one.id}`);
        await invalidate(path);
      },
    });
  return (
    <>
      <p class="actions">
        <Button icon="plus" class="main" onClick={() => openNew(true)}>New API key …</Button>
      </p>
      <Rows
        label="API keys"
        answer={answer}
        rows={answer.data}
        keyOf={(one) => one.id}
        empty="No program has a key yet"
        cells={[
          ["Name", (one) => <>{one.name} <small><code>{one.key_prefix}…</code></small></>],
          ["May", (one) => scopesText(one.scopes)],
          ["In", (one) => <>{one.project_ids === null ? "all projects" : one.project_ids.map(projectName).join(", ")}{one.networks && <small> from {one.networks.join(", ")}</small>}</>],
          ["Last used", (one) => <span title={one.last_used_at ? fullInstant(one.last_used_at) : ""}>{one.last_used_at ? ago(one.last_used_at) : "never"}{one.newest_network && <small> {one.newest_network}</small>}</span>],
          ["Expires", (one) => (one.expires_at === null ? "never" : <span title={fullInstant(one.expires_at)}>{ago(one.expires_at)}</span>)],
          ["State", (one) => <span class={one.is_active ? "status" : "status bad-text"}>{stateOf(one)}</span>],
          [
            "!Acts",
            (one) =>
              one.is_active ? (
                <span class="actions">
                  <Button class="link" disabled={why !== undefined || one.expires_at === null} title={why ?? (one.expires_at === null ? "A key that never expires isn’t rotated: make a new one" : undefined)} onClick={() => rotate(one)}>Rotate …</Button>
                  <Button class="link danger" disabled={why !== undefined} title={why} onClick={() => revoke(one)}>Revoke …</Button>
                </span>
              ) : NONE,
          ],
        ]}
      />
      {isNew && <NewKey {...place} close={() => openNew(false)} made={setMade} />}
      {question && <Confirm {...question} close={() => ask(null)} />}
      {made && question === null && !isNew && <Secret one={made} close={() => setMade(null)} />}
    </>
  );
}

function NewKey({ id, path, close, made }: Place & { close: () => void; made: (one: APIKeyResponse) => void }): JSX.Element {
  const [name, setName] = useState("");
  const [expiration, setExpiration] = useState("");
  const [scopes, setScopes] = useState<readonly KeyScope[]>(["ingest"]);
  const [project, setProject] = useState("");
  const [networks, setNetworks] = useState("");
  const sending = useSending(["name", "expiration", "networks"]);
  const now = session.value;
  const projects = now.state === "in" ? now.projects.filter((one) => one.organizationId === id) : [];
  const make = async (): Promise<void> => {
    const given = networks.split(/[\s,]+/).filter(Boolean);
    const body = {
      name: name.trim(),
      scopes,
      ...(expiration === "" ? {} : { expiration }),
      ...(project === "" ? {} : { project_ids: [project] }),
      ...(given.length === 0 ? {} : { networks: given }),
    };
    made(await request<APIKeyResponse>("POST", `${path}/api-keys`, { body }));
    await invalidate(path);
    close();
  };
  return (
    <Dialog title="New API key" close={close}>
      <Form send={() => sending.send(make)}>
        <Field label="Name" problem={sending.problemOf("name")}>
          {(own) => <input {...own} required maxLength={255} autoFocus value={name} onInput={valueTo(setName)} />}
        </Field>
        <fieldset>
          <legend>It may</legend>
          {SCOPES.map(([scope, text]) => (
            <label key={scope} class="check">
              <input
                type="checkbox"
                checked={scopes.includes(scope)}
                onChange={(event) => setScopes(event.currentTarget.checked ? [...scopes, scope] : scopes.filter((one) => one !== scope))}
              />
              {text} <small>{scope}</small>
            </label>
          ))}
        </fieldset>
        <Field label="Expires" problem={sending.problemOf("expiration")}>
          {(own) => (
            <Select {...own} value={expiration} choose={setExpiration} options={[["", "as the organization says"], ["90d", "in 90 days"], "never"]} />
          )}
        </Field>
        <Field label="Project">
          {(own) => (
            <Select {...own} value={project} choose={setProject} options={[["", "all, and new ones"], ...projects.map((one) => [one.id, one.name])]} />
          )}
        </Field>
        <Field label="Networks" hint="Such as 192.0.2.0/24; empty: from everywhere" problem={sending.problemOf("networks")}>
          {(own) => <input {...own} value={networks} onInput={valueTo(setNetworks)} />}
        </Field>
        <p class="actions">
          <Button onClick={close}>Cancel</Button>
          <Button type="submit" class="main" disabled={sending.isBusy || scopes.length === 0}>Make the key</Button>
        </p>
      </Form>
      <Failed of={sending} />
    </Dialog>
  );
}

/** The only time that the secret is shown. */
function Secret({ one, close }: { one: APIKeyResponse; close: () => void }): JSX.Element {
  const secret = one.raw_key ?? "";
  const text = snippets(ROOT.href.replace(/\/$/, ""), "my-project", secret).at(-1)!.text;
  return (
    <Dialog title={`The key ${one.name}`} close={close}>
      <p>Copy it now: it is shown this once, and only its hash is stored.</p>
      <p class="actions"><code>{secret}</code> <Copy text={secret} label="Copy the key" /></p>
      <div class="snippet">
        <pre role="group" tabIndex={0} aria-label="Environment">{text}</pre>
        <Copy text={text} label="Copy the variables" />
      </div>
      <p class="actions"><Button class="main" onClick={close}>I have copied it</Button></p>
    </Dialog>
  );
}
