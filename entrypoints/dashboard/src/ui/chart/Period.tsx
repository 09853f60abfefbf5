/** The period of a page: one of those that end now, or an own one. It is in the address. */
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { PERIODS } from "../../lib/filters.ts";
import { fieldOf, instant, instantOf, zoneName } from "../../lib/format.ts";
import type { UrlState } from "../../url/state.ts";
import { useNow } from "../useNow.ts";
import { Button, Dialog, Form, valueTo } from "../basics.tsx";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const HOURS_SHOWN_MAX = 3 * DAY; // a longer period is shown by day
const DAYS_SHOWN_MAX = 180 * DAY; // and a longer one by week

export interface Period {
  from: number; // ms, by whole minutes, so that equal questions stay equal
  to: number;
  granularity: "hour" | "day" | "week"; // of its buckets
  text: string;
  isOwn: boolean;
  goesOn: boolean;
  query: string; // of an address of a page that usually shows another period
  renew: () => void; // ends now again
}

/** `fallback` is the id of the period that is shown without one in the address. If it `goesOn`, its end stays now. */
export function usePeriod({ params }: UrlState, fallback: (typeof PERIODS)[number]["id"], goesOn = false): Period {
  const [now, renew] = useNow(goesOn);
  const [id, after, before] = [params.get("period"), params.get("started_after"), params.get("started_before")];
  return useMemo(() => {
    const known = PERIODS.find((one) => one.id === id) ?? PERIODS.find((one) => one.id === fallback)!;
    const to = before ? Date.parse(before) : Math.ceil(now / MINUTE) * MINUTE;
    const from = after ? Date.parse(after) : to - known.ms;
    const isOwn = after !== null || before !== null;
    const granularity = to - from <= HOURS_SHOWN_MAX ? "hour" : to - from <= DAYS_SHOWN_MAX ? "day" : "week";
    const text = isOwn ? `${instant(from)} to ${instant(to)}` : `last ${known.label}`;
    const query = isOwn ? `started_after=${new Date(from).toISOString()}&started_before=${new Date(to).toISOString()}` : `period=${known.id}`;
    return { from, to, granularity, text, isOwn, goesOn, query, renew };
  }, [id, after, before, now, fallback]);
}

/** The change of an address that sets an own period. */
export function ownPeriod(from: number, to: number): Record<string, string | null> {
  return { period: null, started_after: new Date(from).toISOString(), started_before: new Date(to).toISOString() };
}

export function PeriodPicker({ url, period, fallback }: { url: UrlState; period: Period; fallback: string }): JSX.Element {
  const [isOpen, open] = useState(false);
  const value = period.isOwn ? "own" : (url.params.get("period") ?? fallback);
  return (
    <>
      <select
        aria-label="Period"
        value={value}
        onChange={(event) => {
          const chosen = event.currentTarget.value;
          if (chosen === "choose" || chosen === "own") open(true);
          else url.update({ period: chosen, started_after: null, started_before: null }, { push: true });
          event.currentTarget.value = value; // until the address has changed
        }}
      >
        {PERIODS.map((one) => <option key={one.id} value={one.id}>Last {one.label}</option>)}
        {period.isOwn && <option value="own">{period.text}</option>}
        <option value="choose">From … to …</option>
      </select>
      <Button class="quiet" onClick={period.renew} disabled={period.isOwn} label="Up to now">↻</Button>
      {!period.isOwn && !period.goesOn && <small>{`until ${instant(period.to)}`}</small>}
      {isOpen && <OwnPeriod url={url} period={period} close={() => open(false)} />}
    </>
  );
}

function OwnPeriod({ url, period, close }: { url: UrlState; period: Period; close: () => void }): JSX.Element {
  const [from, setFrom] = useState(fieldOf(period.from));
  const [to, setTo] = useState(fieldOf(period.to));
  const isRight = instantOf(from) < instantOf(to);
  return (
    <Dialog title="Period" close={close}>
      <Form send={() => {
          if (!isRight) return;
          url.update(ownPeriod(instantOf(from), instantOf(to)), { push: true });
          close();
        }}>
        <label>
          From ({zoneName()})
          <input type="datetime-local" required value={from} onInput={valueTo(setFrom)} />
        </label>
        <label>
          To ({zoneName()})
          <input type="datetime-local" required value={to} onInput={valueTo(setTo)} />
        </label>
        {!isRight && <p class="problem">The end has to be after the start.</p>}
        <p class="actions">
          <Button type="submit" class="main" disabled={!isRight}>Show</Button>
        </p>
      </Form>
    </Dialog>
  );
}
