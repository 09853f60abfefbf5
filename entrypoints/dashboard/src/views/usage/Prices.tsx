/** Models without a price, the prices of the project, and pricing stored spans again. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, project, scopeHint, session } from "../../api/session.ts";
import type { ModelPriceResponse, RepricingResponse, UnpricedModelResponse } from "../../api/types.d.ts";
import { ago, cost, count, fullInstant, instant, instantOf, NONE, plural, zoneName } from "../../lib/format.ts";
import { announce, Button, Dialog, Failed, Form } from "../../ui/basics.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import type { Period } from "../../ui/chart/Period.tsx";
import { Panel } from "../overview/parts.tsx";
import { Head } from "../../ui/Head.tsx";

const DAY = 86_400_000;
const DAYS_MAX = 90; // that the service looks back for models without a price
const POLL_MS = 1000;
const RATES = [
  ["input", "Prompt", true],
  ["output", "Completion", true],
  ["cache_read", "Read from a cache", false],
  ["cache_write", "Written to a cache", false],
] as const;

type Open = { dialog: "price"; model: string } | { dialog: "reprice"; models: readonly string[] } | null;

/** Why this session may not set a price; nothing if it may. */
function priceProblem(): string {
  const now = session.value;
  if (now.state === "in" && !now.isPerson) return "You are signed in with an API key: only people set prices";
  return project.value?.canManage ? "" : "Only owners and administrators set prices";
}

export function Prices({ period }: { period: Period }): JSX.Element {
  const [open, setOpen] = useState<Open>(null);
  const days = Math.max(1, Math.min(DAYS_MAX, Math.ceil((Date.now() - period.from) / DAY)));
  const unpriced = useRead<UnpricedModelResponse[]>("model-prices/unpriced", { days });
  const prices = useRead<ModelPriceResponse[]>("model-prices");
  const problem = priceProblem();
  const models = unpriced.data ?? [];
  const own = prices.data ?? [];
  return (
    <>
      <Panel
        title="Models without a price"
        reads={[unpriced]}
        link={
          <Button disabled={!may("evaluate")} title={scopeHint("evaluate")} onClick={() => setOpen({ dialog: "reprice", models: [] })}>Reprice …</Button>
        }
      >
        {() =>
          models.length === 0 ? (
            <p class="none">{`No model without a price in the last ${plural(days, "day")}.`}</p>
          ) : (
            <table class="plain-table">
              <Head of={["Model", "Spans", "Tokens", "Last", "!Set a price"]} />
              <tbody>
                {models.map((one) => (
                  <tr key={one.model}>
                    <th scope="row">{one.model}</th>
                    <td>{count(one.spans)}</td>
                    <td>{count(one.prompt_tokens + one.completion_tokens)}</td>
                    <td><time title={fullInstant(one.last_seen_at)}>{ago(one.last_seen_at)}</time></td>
                    <td>
                      <Button class="link" aria-label={`Set a price of ${one.model}`} disabled={problem !== ""} title={problem} onClick={() => setOpen({ dialog: "price", model: one.model })}>Set a price</Button>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          )
        }
      </Panel>
      <Panel
        title="Prices of this project"
        reads={[prices]}
        link={<Button disabled={problem !== ""} title={problem} onClick={() => setOpen({ dialog: "price", model: "" })}>New price …</Button>}
      >
        {() => (own.length === 0 ? <p class="none">None: models have the prices of the general table.</p> : <OwnPrices prices={own} problem={problem} />)}
      </Panel>
      {open?.dialog === "price" && <SetPrice model={open.model} close={() => setOpen(null)} reprice={(models) => setOpen({ dialog: "reprice", models })} />}
      {open?.dialog === "reprice" && <Reprice models={open.models} period={period} close={() => setOpen(null)} />}
    </>
  );
}

function OwnPrices({ prices, problem }: { prices: readonly ModelPriceResponse[]; problem: string }): JSX.Element {
  const { send, error, isBusy } = useSending();
  const remove = (price: ModelPriceResponse): void => {
    void send(async () => {
      await request("DELETE", `model-prices/${price.id}`);
      announce("Deleted the price");
      await invalidate("model-prices");
    });
  };
  return (
    <>
      <Failed of={{ error }} />
      <table class="plain-table">
        <Head of={["Models", "Prompt", "Completion", "!Delete"]} />
        <tbody>
          {prices.map((one) => (
            <tr key={one.id}>
              <th scope="row">
                {one.match}
                {one.effective_from && <small> from {instant(one.effective_from)}</small>}
                {one.effective_to && <small> to {instant(one.effective_to)}</small>}
              </th>
              <td>${one.input}</td>
              <td>${one.output}</td>
              <td>
                <Button class="link danger" aria-label={`Delete the price of ${one.match}`} disabled={problem !== "" || isBusy} title={problem || "Stored spans keep their costs"} onClick={() => remove(one)}>Delete</Button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="hint">USD per million tokens.</p>
    </>
  );
}

function SetPrice({ model, close, reprice }: { model: string; close: () => void; reprice: (models: readonly string[]) => void }): JSX.Element {
  const [values, setValues] = useState<Record<string, string>>({ match: model });
  const { isBusy, error, problemOf, send } = useSending(["match", "effective_from", ...RATES.map(([name]) => name)]);
  const input = (name: string) => ({
    value: values[name] ?? "",
    onInput: (event: JSX.TargetedInputEvent<HTMLInputElement>) => setValues({ ...values, [name]: event.currentTarget.value }),
  });
  const save = async (): Promise<void> => {
    const body = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ""));
    if (body.effective_from) body.effective_from = new Date(instantOf(body.effective_from)).toISOString();
    const isDone = await send(() => request("POST", "model-prices", { body }));
    if (!isDone) return;
    announce("Set the price");
    await invalidate("model-prices");
    // A pattern has no name that could be chosen: then all models are looked at.
    reprice(/[*?]/.test(values.match!) ? [] : [values.match!]);
  };
  return (
    <Dialog title={model ? `Price of ${model}` : "New price"} close={close}>
      <Form send={save}>
        <Field label="Models" hint="A name; * stands for any characters" problem={problemOf("match")}>
          {(own) => <input {...own} {...input("match")} required autoFocus={model === ""} />}
        </Field>
        <p class="hint">USD per million tokens, such as 2.50</p>
        {RATES.map(([name, label, isRequired]) => (
          <Field key={name} label={isRequired ? label : `${label} (optional)`} problem={problemOf(name)}>
            {(own) => <input {...own} {...input(name)} required={isRequired} inputMode="decimal" autoFocus={model !== "" && name === "input"} />}
          </Field>
        ))}
        <Field label={`Valid from (optional, ${zoneName()})`} hint="Without it, at all times" problem={problemOf("effective_from")}>
          {(own) => <input {...own} {...input("effective_from")} type="datetime-local" />}
        </Field>
        <Failed of={{ error }} />
        <p class="hint">Spans that are stored later get this price. Those that are stored already keep their cost until they are repriced, which is the next step.</p>
        <p class="actions">
          <Button type="submit" class="main" disabled={isBusy}>Set the price</Button>
          <Button onClick={close}>Cancel</Button>
        </p>
      </Form>
    </Dialog>
  );
}

/** Shows the difference first, then applies it. */
function Reprice({ models, period, close }: { models: readonly string[]; period: Period; close: () => void }): JSX.Element {
  const [started, setStarted] = useState<RepricingResponse | null>(null);
  const [isAllTime, setAllTime] = useState(false);
  const { isBusy, error, send } = useSending();
  const polled = useRead<RepricingResponse>(`model-prices/reprice/${started?.id ?? ""}`, {}, { enabled: started !== null && !isOver(started), pollMs: POLL_MS });
  const now = polled.data ?? started;
  const isDone = now !== null && isOver(now);
  useEffect(() => {
    if (now !== null && isOver(now) && now !== started) setStarted(now); // asks no more
    if (now?.status !== "COMPLETED" || now.dry_run) return;
    announce("Repriced");
    for (const path of ["traces", "model-prices/unpriced", "sessions", "analytics"]) void invalidate(path);
  }, [now?.status, now?.id]);
  const start = (isDry: boolean): void => {
    const bounds = isAllTime ? {} : { from: new Date(period.from).toISOString(), to: new Date(period.to).toISOString() };
    void send(async () => setStarted(await request<RepricingResponse>("POST", "model-prices/reprice", { body: { ...bounds, models, dry_run: isDry } })));
  };
  return (
    <Dialog title="Price stored spans again" close={close} wide>
      <p>
        {models.length > 0 ? `Spans of ${models.join(", ")}` : "Spans of all models"} get today’s prices. Costs that clients sent stay as they are.
      </p>
      <label class="check">
        <input type="checkbox" checked={isAllTime} disabled={started !== null} onChange={(event) => setAllTime(event.currentTarget.checked)} />
        Of all time, not only of this period ({period.text})
      </label>
      <Failed of={{ error }} />
      {now && <Difference of={now} />}
      <p class="actions">
        {now === null && <Button class="main" disabled={isBusy} onClick={() => start(true)}>Compute the difference</Button>}
        {isDone && now.dry_run && now.changed > 0 && now.status === "COMPLETED" && (
          <Button class="main" disabled={isBusy} onClick={() => start(false)}>{`Change ${plural(now.changed, "span")}`}</Button>
        )}
        <Button onClick={close}>{isDone && !now.dry_run ? "Close" : "Cancel"}</Button>
      </p>
    </Dialog>
  );
}

function isOver(one: RepricingResponse): boolean {
  return one.status === "COMPLETED" || one.status === "FAILED";
}

function Difference({ of }: { of: RepricingResponse }): JSX.Element {
  const difference = of.cost_after - of.cost_before;
  return (
    <>
      <p role="status">
        {of.status === "FAILED" ? (
          <span class="bad-text">{of.error_message ?? "It failed"}</span>
        ) : !isOver(of) ? (
          `${of.dry_run ? "Computing" : "Changing"}: ${plural(of.spans, "span")} so far …`
        ) : of.changed === 0 ? (
          `None of ${plural(of.spans, "span")} ${of.dry_run ? "would change" : "changed"}.`
        ) : (
          <>
            {`${count(of.changed)} of ${plural(of.spans, "span")} ${of.dry_run ? "would change" : "changed"}: ${cost(of.cost_before)} → ${cost(of.cost_after)}`}{" "}
            <strong>{`(${difference < 0 ? "−" : "+"}${cost(Math.abs(difference))})`}</strong>
          </>
        )}
      </p>
      {of.by_model.length > 0 && (
        <table class="plain-table">
          <Head of={["Model", "Changed", "Before", "After"]} />
          <tbody>
            {of.by_model.map((one) => (
              <tr key={one.model}>
                <th scope="row">{one.model ?? "all others"}</th>
                <td>{`${count(one.changed)} of ${count(one.spans)}`}</td>
                <td>{one.changed === one.spans && one.cost_before === 0 ? NONE : cost(one.cost_before)}</td>
                <td>{cost(one.cost_after)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}
