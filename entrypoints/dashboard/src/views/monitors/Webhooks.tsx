/** Webhooks: URLs that get each change of an alert, and the deliveries of each message. */
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, scopeHint } from "../../api/session.ts";
import type { DeliveryResponse, PaginatedResponse_DeliveryResponse_, WebhookCreatedResponse, WebhookResponse } from "../../api/types.d.ts";
import { ago, fullInstant, instant, plural } from "../../lib/format.ts";
import { Field, useSending } from "../../ui/Field.tsx";
import { announce, Button, Copy, Dialog, Loading, Failed, Form, valueTo, Select } from "../../ui/basics.tsx";
import { Reason } from "../../ui/LongText.tsx";
import type { UrlState } from "../../url/state.ts";
import { Confirm } from "./Monitor.tsx";
import { Head } from "../../ui/Head.tsx";

const PATH = "evaluations/webhooks";
const FORMATS = { standard: "Standard Webhooks: JSON, signed", slack: "Slack", discord: "Discord", teams: "Teams" };
const DELIVERIES = 20;
const POLL_MS = 3000;

export function Webhooks({ url }: { url: UrlState }): JSX.Element {
  const webhooks = useRead<WebhookResponse[]>(PATH);
  const [isMaking, make] = useState(false);
  const [gone, askDelete] = useState<WebhookResponse | null>(null);
  const sending = useSending();
  const allowed = may("evaluate");
  const shown = url.params.get("webhook");
  const test = (one: WebhookResponse): void =>
    void sending.send(async () => {
      await request("POST", `${PATH}/${one.id}/test`, { headers: { "Idempotency-Key": crypto.randomUUID() } });
      announce("Sends a test message");
      url.update({ webhook: one.id });
      await invalidate(`${PATH}/${one.id}`);
    });
  return (
    <section aria-label="Webhooks">
      <header class="title">
        <h2>Webhooks</h2>
        <Button disabled={!allowed} title={scopeHint("evaluate")} onClick={() => make(true)}>New webhook …</Button>
      </header>
      <Failed of={webhooks} />
      {webhooks.isPending && <Loading what="webhooks" />}
      <Failed of={sending} />
      {webhooks.data?.length === 0 && <p class="none">No webhook: changes of alerts are shown here only.</p>}
      {webhooks.data && webhooks.data.length > 0 && (
        <ul class="webhook-list">
          {webhooks.data.map((one) => (
            <li key={one.id}>
              <span>
                <code>{one.url}</code>
                <small>{one.format} · made {ago(one.created_at)}</small>
              </span>
              <span class="actions">
                <Button aria-expanded={shown === one.id} onClick={() => url.update({ webhook: shown === one.id ? null : one.id }, { push: true })}>Deliveries</Button>
                <Button disabled={!allowed || sending.isBusy} title={scopeHint("evaluate")} aria-label={`Send a test message to ${one.url}`} onClick={() => test(one)}>Test</Button>
                <Button class="quiet danger" icon="close" disabled={!allowed} label={`Delete the webhook ${one.url}`} onClick={() => askDelete(one)} />
              </span>
              {shown === one.id && <Deliveries path={`${PATH}/${one.id}/deliveries`} />}
            </li>
          ))}
        </ul>
      )}
      {isMaking && <Make close={() => make(false)} />}
      {gone && (
        <Confirm
          title="Delete the webhook?"
          word="Delete the webhook"
          close={() => askDelete(null)}
          act={async () => {
            await request("DELETE", `${PATH}/${gone.id}`);
            await invalidate(PATH);
          }}
        >
          {`${gone.url} gets no more messages. Its deliveries are deleted, also those that wait.`}
        </Confirm>
      )}
    </section>
  );
}

function Make({ close }: { close: () => void }): JSX.Element {
  const [address, setAddress] = useState("");
  const [format, setFormat] = useState<keyof typeof FORMATS>("standard");
  const [made, setMade] = useState<WebhookCreatedResponse | null>(null);
  const sending = useSending(["url", "format"]);
  const key = useMemo(() => crypto.randomUUID(), [address, format]);
  const save = async (): Promise<void> => {
    const worked = await sending.send(async () => setMade(await request<WebhookCreatedResponse>("POST", PATH, { body: { url: address.trim(), format }, headers: { "Idempotency-Key": key } })));
    if (worked) await invalidate(PATH);
  };
  if (made !== null) {
    return (
      <Dialog title="The webhook’s secret" close={close}>
        <p>It signs every message, so that the receiver knows who sent it. It is shown only now: keep it where the receiver reads it.</p>
        <p class="secret">
          <code>{made.secret}</code>
          <Copy text={made.secret} label="Copy the secret" />
        </p>
        <p class="actions">
          <Button class="main" onClick={close}>I have kept it</Button>
        </p>
      </Dialog>
    );
  }
  return (
    <Dialog title="New webhook" close={close}>
      <Form send={save}>
        <Field label="URL" hint="It gets every change of an alert in this project" problem={sending.problemOf("url")}>
          {(own) => <input {...own} autoFocus required type="url" placeholder="https://example.com/hook" value={address} onInput={valueTo(setAddress)} />}
        </Field>
        <Field label="Format" problem={sending.problemOf("format")}>
          {(own) => (
            <Select {...own} value={format} choose={(value) => setFormat(value as keyof typeof FORMATS)} options={Object.entries(FORMATS)} />
          )}
        </Field>
        <Failed of={sending} />
        <p class="actions">
          <Button type="submit" class="main" disabled={sending.isBusy}>Make the webhook</Button>
        </p>
      </Form>
    </Dialog>
  );
}

function Deliveries({ path }: { path: string }): JSX.Element {
  const found = useRead<PaginatedResponse_DeliveryResponse_>(path, { limit: DELIVERIES }, { pollMs: POLL_MS });
  if (found.isError) return <Failed of={found} />;
  if (!found.data) return <Loading what="deliveries" />;
  if (found.data.items.length === 0) return <p class="none">Nothing was sent yet. <em>Test</em> sends a message.</p>;
  return (
    <div class="numbers" tabIndex={0} role="region" aria-label="Deliveries">
      <table class="plain-table">
        <Head of={["Made", "Delivery", "Message"]} />
        <tbody>{found.data.items.map((one) => <Delivery key={one.id} of={one} />)}</tbody>
      </table>
      {found.data.total > DELIVERIES && <p class="hint">The last {DELIVERIES} of {plural(found.data.total, "delivery", "deliveries")}.</p>}
    </div>
  );
}

function Delivery({ of }: { of: DeliveryResponse }): JSX.Element {
  const answer = of.http_status !== null ? `HTTP ${of.http_status}` : (of.error?.replace(/_/g, " ") ?? "");
  const text = (of.message as { text?: unknown }).text;
  return (
    <tr>
      <th scope="row" title={fullInstant(of.created_at)}>{instant(of.created_at)}</th>
      <td>
        <span class={`delivery d-${of.status}`}>{of.status.toLowerCase()}</span> <small>{plural(of.attempts, "attempt")}{answer && <>, <Reason text={answer} /></>}</small>
        {of.next_attempt_at !== null && of.attempts > 0 && <small> · next {ago(of.next_attempt_at)}</small>}
      </td>
      <td>
        <Reason text={typeof text === "string" ? text : null} />
        <details>
          <summary>As sent</summary>
          <pre tabIndex={0}>{JSON.stringify(of.message, null, 2)}</pre>
        </details>
      </td>
    </tr>
  );
}
