/** Shares a trace: with members by its address, with anybody by a public link. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { address, request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { project, session } from "../../api/session.ts";
import type { CreatedLinkResponse, LinkResponse, SharingResponse } from "../../api/types.d.ts";
import { ago, fullInstant } from "../../lib/format.ts";
import { announce, Button, Copy, copy, Dialog, Failed, Form, Select } from "../../ui/basics.tsx";
import { Field, useSending } from "../../ui/Field.tsx";

const DAYS = [1, 7, 30, 90, 365];

export function Share({ id, close }: { id: string; close: () => void }): JSX.Element {
  const now = session.value;
  const isPerson = now.state === "in" && now.isPerson;
  return (
    <Dialog title="Share the trace" close={close}>
      <h3>With members of {project.value?.organization || "the organization"}</h3>
      <p class="actions">
        <Button onClick={() => void copy(here(), "Copied the link")}>Copy the link to what you see</Button>
        <Button class="link" onClick={() => void copy(address(`app/go/trace/${id}`), "Copied the link")}>Copy a link by the id alone</Button>
      </p>
      <h3>With a public link</h3>
      {isPerson ? <PublicLinks id={id} /> : <p class="hint">You are signed in with an API key: only people make public links.</p>}
    </Dialog>
  );
}

/** The address without this dialog. */
function here(): string {
  const url = new URL(location.href);
  url.searchParams.delete("dialog");
  return url.href;
}

function PublicLinks({ id }: { id: string }): JSX.Element {
  const path = `traces/${id}/links`;
  const organization = project.value?.organizationId ?? "";
  const setting = useRead<SharingResponse>(`organizations/${organization}/sharing`);
  const links = useRead<LinkResponse[]>(path);
  const [made, setMade] = useState<CreatedLinkResponse | null>(null);
  const [mask, setMask] = useState(true);
  const [scores, setScores] = useState(false);
  const [days, setDays] = useState("30");
  const sending = useSending(["expires_days"]);
  const make = async (): Promise<void> => {
    setMade(await request<CreatedLinkResponse>("POST", path, { body: { mask, scores, expires_days: Number(days) } }));
    announce("Made the link");
    await invalidate(path);
  };
  const revoke = async (one: LinkResponse): Promise<void> => {
    await request("DELETE", `${path}/${one.id}`);
    announce("Revoked the link");
    if (made?.id === one.id) setMade(null);
    await invalidate(path);
  };
  const isOff = setting.data?.public_links === false;
  return (
    <>
      {isOff && (
        <p class="hint">This organization allows no public links: an owner or administrator can allow them on its page <em>Public links</em>.</p>
      )}
      <Form send={() => sending.send(make)}>
        <label class="check">
          <input type="checkbox" checked={mask} disabled={isOff} onChange={(event) => setMask(event.currentTarget.checked)} />
          Without inputs, outputs, metadata, messages, tags and session
        </label>
        <label class="check">
          <input type="checkbox" checked={scores} disabled={isOff} onChange={(event) => setScores(event.currentTarget.checked)} />
          With scores
        </label>
        <Field label="Ends" problem={sending.problemOf("expires_days")}>
          {(own) => (
            <Select {...own} value={days} disabled={isOff} choose={setDays} options={DAYS.map((one) => [one, one === 1 ? "tomorrow" : `in ${one} days`])} />
          )}
        </Field>
        <p class="actions"><Button type="submit" class="main" disabled={isOff || sending.isBusy}>Make a public link</Button></p>
      </Form>
      {made && (
        <p class="actions" role="status">
          <a href={address(made.url)}>{address(made.url)}</a> <Copy text={address(made.url)} label="Copy the public link" />
          <small>Copy it now: it is shown this once.</small>
        </p>
      )}
      <Failed of={sending} />
      <Failed of={links} />
      {links.data && links.data.length > 0 && (
        <ul class="links" aria-label="Public links to this trace">
          {links.data.map((one) => (
            <li key={one.id}>
              <span>by {one.created_by}, <span title={fullInstant(one.created_at)}>{ago(one.created_at)}</span></span>
              <span title={fullInstant(one.expires_at)}>{Date.parse(one.expires_at) > Date.now() ? `ends ${ago(one.expires_at)}` : "ended"}</span>
              <span>{[one.mask ? "masked" : "with payloads", one.scores ? "with scores" : ""].filter(Boolean).join(", ")}</span>
              <Button class="link danger" disabled={sending.isBusy} onClick={() => void sending.send(() => revoke(one))}>Revoke</Button>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
