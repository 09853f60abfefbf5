/** Tokens and costs over time, by model, user or release; models without a price; what judges cost. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { useRead } from "../../api/queries.ts";
import { project } from "../../api/session.ts";
import type { TokenCostBucket, TokenCostGroup } from "../../api/types.d.ts";
import { bucketsOf, bucketZone, STEP_MS, summed } from "../../lib/chart/buckets.ts";
import { cost, count, NONE, percent, plural, pricedText, short } from "../../lib/format.ts";
import { zone } from "../../lib/preferences.ts";
import { Button, useTitle, Select } from "../../ui/basics.tsx";
import { Modes } from "../../ui/Modes.tsx";
import { Chart, type Series } from "../../ui/chart/Chart.tsx";
import { ownPeriod, PeriodPicker, usePeriod, type Period } from "../../ui/chart/Period.tsx";
import { useUrlState } from "../../url/state.ts";
import { groupName, totalOf, unknownCosts } from "../overview/Overview.tsx";
import { Money, Panel, Tile, TracesLink } from "../overview/parts.tsx";
import { Judges } from "./Judges.tsx";
import { Prices } from "./Prices.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const GROUPS = 20;
const BARS = 5; // groups that have a colour; the rest is one bar
const BY = { model: "model", user: "user", release: "release", environment: "environment", name: "name" } as const;
type By = keyof typeof BY;
/** The filter of the list of traces for a value of a group. */
const FILTER: Record<By, string> = { model: "model", user: "user_id", release: "release", environment: "environment", name: "names" };

export function Usage(): JSX.Element {
  useTitle("Usage", project.value?.name);
  const url = useUrlState();
  const { params, update } = url;
  const period = usePeriod(url, "30d", true);
  const by: By = (params.get("by") ?? "") in BY ? (params.get("by") as By) : "model";
  const metric = params.get("metric") === "tokens" ? "tokens" : "cost";
  const buckets = bucketsOf(period, zone.value === "utc");
  const asked = { metric, by, limit: GROUPS, ...buckets };
  const all = useRead<TokenCostBucket[]>("traces/analytics", { metric: "tokens", ...buckets }, { keepPrevious: true });
  const parts = useRead<TokenCostGroup[]>("traces/analytics", asked, { keepPrevious: true });
  useCurl("Usage", "the figures", "traces/analytics", asked);
  const rows = all.data ?? [];
  const sum = (field: (one: TokenCostBucket) => number | null): number => rows.reduce((found, one) => found + (field(one) ?? 0), 0);
  const [prompt, completion, cached, reasoning] = [sum((one) => one.prompt_tokens), sum((one) => one.completion_tokens), sum((one) => one.cached_tokens), sum((one) => one.reasoning_tokens)];
  const priced = { unpriced_span_count: sum((one) => one.unpriced_span_count), priced_span_count: sum((one) => one.priced_span_count) };
  const usd = sum((one) => one.total_cost);
  const axis = { step: STEP_MS[period.granularity], onRange: (from: number, to: number) => update(ownPeriod(from, to), { push: true }) };
  const groups = parts.data ?? [];
  const isKnown = all.data !== undefined;
  const days = period.granularity === "hour" ? "" : ` · days of ${bucketZone(period.from, period.to, zone.value === "utc")}`;
  return (
    <div class="page">
      <header class="title">
        <h1>Usage</h1>
        <PeriodPicker url={url} period={period} fallback="30d" />
      </header>
      <dl class="tiles" aria-label="Totals">
        <Tile label="Cost" value={isKnown ? cost(usd, priced.unpriced_span_count) : NONE}>{isKnown && pricedText(priced)}</Tile>
        <Tile label="Prompt tokens" value={isKnown ? <span title={count(prompt)}>{short(prompt)}</span> : NONE} />
        <Tile label="Cached prompt tokens" value={cached > 0 ? <span title={count(cached)}>{short(cached)}</span> : NONE}>
          {cached > 0 ? `${percent(cached, prompt)} of the prompts` : "no span reported any"}
        </Tile>
        <Tile label="Completion tokens" value={isKnown ? <span title={count(completion)}>{short(completion)}</span> : NONE} />
        <Tile label="Reasoning tokens" value={reasoning > 0 ? <span title={count(reasoning)}>{short(reasoning)}</span> : NONE}>
          {reasoning > 0 ? `${percent(reasoning, completion)} of the completions` : "no span reported any"}
        </Tile>
      </dl>
      <div class="panels">
        <Panel
          title={`${metric === "cost" ? "Cost" : "Tokens"} by ${BY[by]}`}
          wide
          reads={[parts]}
          link={
            <span class="actions">
              <Modes label="Figure" of={["cost", "tokens"]} at={metric} choose={(one) => update({ metric: one }, { push: true })} />
              <Select aria-label="Group by" value={by} choose={(value) => update({ by: value }, { push: true })} options={Object.values(BY).map((one) => [one, `by ${one}`])} />
            </span>
          }
        >
          {() => (
            <>
              <Chart {...axis} title={`${metric} by ${BY[by]}`} summary={`${metric} by ${period.granularity}, the ${BARS} greatest apart`} times={groups[0]?.buckets.map((one) => Date.parse(one.bucket)) ?? []} text={metric === "cost" ? cost : short} series={seriesOf(groups, by, metric)} />
              <p class="hint">
                {by === "model" ? "Of spans, by their start" : "Of traces, by their start"}
                {days}. Press on a bar or drag over several to see only their time.
              </p>
              <Groups groups={groups} by={by} period={period} />
            </>
          )}
        </Panel>
        <Panel title="Tokens" wide reads={[all]}>
          {() => (
            <Chart
              {...axis}
              title="Tokens"
              summary={`${plural(prompt + completion, "token")} by ${period.granularity}`}
              times={rows.map((one) => Date.parse(one.bucket))}
              text={short}
              series={[
                { label: "prompt", tone: 1, as: "bar", values: rows.map((one) => one.prompt_tokens - (one.cached_tokens ?? 0)) },
                ...(cached > 0 ? [{ label: "prompt, cached", tone: 5, as: "bar", values: rows.map((one) => one.cached_tokens) } as const] : []),
                { label: "completion", tone: 3, as: "bar", values: rows.map((one) => one.completion_tokens - (one.reasoning_tokens ?? 0)) },
                ...(reasoning > 0 ? [{ label: "reasoning", tone: 4, as: "bar", values: rows.map((one) => one.reasoning_tokens) } as const] : []),
              ]}
            />
          )}
        </Panel>
        <Prices period={period} />
        <Judges url={url} period={period} />
      </div>
    </div>
  );
}

function seriesOf(groups: readonly TokenCostGroup[], by: string, metric: "cost" | "tokens"): Series[] {
  const figures = (of: readonly TokenCostGroup[]): (number | null)[] => (metric === "cost" ? unknownCosts(of) : summed(of, (one) => one.total_tokens));
  const named = groups.filter((one) => one.kind !== "other").slice(0, BARS);
  const rest = groups.filter((one) => !named.includes(one));
  return [
    ...named.map((one, at) => ({ label: groupName(one, by), tone: (at + 1) as 1 | 2 | 3 | 4 | 5, as: "bar" as const, values: figures([one]) })),
    ...(rest.length > 0 ? [{ label: "all others", tone: "muted" as const, as: "bar" as const, values: figures(rest) }] : []),
  ];
}

function Groups({ groups, by, period }: { groups: readonly TokenCostGroup[]; by: By; period: Period }): JSX.Element {
  const [isWhole, showWhole] = useState(false);
  const whole = totalOf(groups);
  const shown = isWhole ? groups : groups.slice(0, BARS + 1);
  const hasCached = groups.some((one) => one.total.cached_tokens);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`Totals by ${by}`}>
      <table class="plain-table">
        <thead>
          <tr>
            <th scope="col">{by[0]!.toUpperCase() + by.slice(1)}</th>
            <th scope="col">Prompt</th>
            {hasCached && <th scope="col">Cached</th>}
            <th scope="col">Completion</th>
            <th scope="col">Cost</th>
            <th scope="col" class="wide-only">Of the cost</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((one) => (
            <tr key={`${one.kind} ${one.key}`}>
              <th scope="row">
                {one.kind === "value" && one.key ? <TracesLink period={period} where={{ [FILTER[by]]: one.key }}>{one.key}</TracesLink> : groupName(one, by)}
              </th>
              <td>{count(one.total.prompt_tokens)}</td>
              {hasCached && <td>{one.total.cached_tokens ? count(one.total.cached_tokens) : NONE}</td>}
              <td>{count(one.total.completion_tokens)}</td>
              <td><Money usd={one.total.total_cost} of={one.total} withShare={one.total.unpriced_span_count > 0} /></td>
              <td class="wide-only">{whole.cost > 0 && cost(one.total.total_cost, one.total.unpriced_span_count) !== NONE ? percent(one.total.total_cost, whole.cost) : NONE}</td>
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <th scope="row">All</th>
            <td>{count(whole.prompt)}</td>
            {hasCached && <td />}
            <td>{count(whole.completion)}</td>
            <td><Money usd={whole.cost} of={whole} withShare /></td>
            <td class="wide-only" />
          </tr>
        </tfoot>
      </table>
      {shown.length < groups.length && <Button class="link" onClick={() => showWhole(true)}>{`Show all ${count(groups.length)}`}</Button>}
    </div>
  );
}
