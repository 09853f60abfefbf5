/** Two groups of traces side by side, such as those of two releases. Both filters are in the address. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { useRead } from "../../api/queries.ts";
import { project } from "../../api/session.ts";
import type { GroupComparisonResponse, GroupResponse, MeanComparisonResponse, MetricComparisonResponse } from "../../api/types.d.ts";
import { failedOf, filterBody } from "../../lib/filters.ts";
import { NONE, cost, costHint, count, duration, percent, plural, tracesText } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { Button, Empty, Loading, useTitle, Failed } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Coverage } from "../../ui/chart/Coverage.tsx";
import { Filters } from "../../ui/table/Filters.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { changed, type UrlState, useUrlState } from "../../url/state.ts";
import { Periods } from "../traces/Traces.tsx";
import { Interval, number } from "./Interval.tsx";
import { Head } from "../../ui/Head.tsx";
import { useCurl } from "../../ui/useCurl.ts";

type Difference = NonNullable<GroupComparisonResponse["failures"]>;
type Side = "a" | "b";

const REASONS: Record<string, string> = {
  too_few: "fewer than 30 numbers in a group: no interval",
  shared_traces: "some traces are in both groups: no interval",
  one_group: "the other group has none that was made in this way: not compared",
};

/** A side is a query of the list of traces, in one parameter of this address. */
function sideOf(url: UrlState, side: Side): UrlState {
  const own = url.params.get(side) ?? "";
  return {
    params: new URLSearchParams(own),
    update: (change, options) => url.update({ [side]: changed(`?${own}`, change).slice(1) || null }, options),
  };
}

export function CompareGroups(): JSX.Element {
  const url = useUrlState();
  useTitle("Compare groups", project.value?.name);
  const sides = { a: sideOf(url, "a"), b: sideOf(url, "b") };
  const minute = Math.floor(Date.now() / 60_000) * 60_000;
  const [ofA, ofB] = [url.params.get("a") ?? "", url.params.get("b") ?? ""];
  const body = useMemo(() => ({ a: filterBody(sides.a.params, minute), b: filterBody(sides.b.params, minute) }), [ofA, ofB]);
  const hasText = sides.a.params.has("query") || sides.b.params.has("query");
  const isAsked = ofA !== ofB && !hasText;
  const found = useRead<GroupComparisonResponse>("analytics/compare", {}, { body, enabled: isAsked });
  const swap = (): void => url.update({ a: ofB || null, b: ofA || null }, { push: true });
  useCommands([{ keys: "w", label: "Swap the groups", group: "Comparison", run: swap }]);
  useCurl("Comparison", "the comparison", isAsked ? "analytics/compare" : null, {}, body);
  return (
    <div class="list-main scrolled">
      <header class="title">
        <h1>Compare groups</h1>
        <Button onClick={swap}>Swap</Button>
      </header>
      {(["a", "b"] as const).map((side) => (
        <div key={side} class="side-filter">
          <b>{side.toUpperCase()}</b>
          <Periods url={sides[side]} label={`Period of group ${side.toUpperCase()}`} />
          <Filters url={sides[side]} label={`Filter group ${side.toUpperCase()}`} />
        </div>
      ))}
      {hasText && <p class="problem" role="alert">Words in texts can’t choose groups: drop the filter text.</p>}
      {!isAsked && !hasText && (
        <Empty title="Which traces?">
          <p>Give each group a filter, such as release:1.4 and release:1.5.</p>
        </Empty>
      )}
      {isAsked && found.isPending && <Loading what="both groups" />}
      {isAsked && found.isError && <Failed of={found} />}
      {isAsked && found.data && <Figures of={found.data} links={{ a: ofA, b: ofB }} />}
    </div>
  );
}

function Figures({ of, links }: { of: GroupComparisonResponse; links: Record<Side, string> }): JSX.Element {
  const { a, b } = of;
  const list = (side: Side, more = ""): string => `${projectPath("traces")}?${[links[side], more].filter(Boolean).join("&")}`;
  const share = (one: GroupResponse, side: Side): JSX.Element | string => {
    if (one.traces === 0) return NONE;
    const text = `${count(one.failed)} · ${percent(one.failed, one.traces)}`;
    return one.failed === 0 ? text : <Link href={`${projectPath("traces")}?${failedOf(links[side])}`}>{text}</Link>;
  };
  const each = (value: number, one: GroupResponse): number | null => (one.traces === 0 ? null : value / one.traces);
  const rows: [string, (one: GroupResponse, side: Side) => JSX.Element | string, JSX.Element | string][] = [
    ["Traces", (one, side) => <Link href={list(side)}>{count(one.traces)}</Link>, ""],
    ["Failed", share, of.failures ? <Change of={of.failures} isWorse={(value) => value > 0} isShare /> : NONE],
    ...(["p50", "p90", "p99"] as const).map((name): [string, (one: GroupResponse) => JSX.Element, string] => [
      `Latency ${name}`,
      (one) => <span title={one.latency_count < one.traces ? `of ${plural(one.latency_count, "trace")} that ended` : ""}>{duration(one.latency_ms?.[name])}</span>,
      ratio(a.latency_ms?.[name], b.latency_ms?.[name]),
    ]),
    ["Tokens a trace", (one) => { const mean = each(one.total_tokens, one); return mean === null ? NONE : count(Math.round(mean)); }, ratio(each(a.total_tokens, a), each(b.total_tokens, b))],
    [
      "Cost a trace",
      (one) => <span title={costHint(one.total_cost, one.unpriced_span_count)}>{cost(each(one.total_cost, one), one.unpriced_span_count)}{one.unpriced_trace_count > 0 && <small> {plural(one.unpriced_trace_count, "trace")} unpriced</small>}</span>,
      a.unpriced_span_count + b.unpriced_span_count > 0 ? "unpriced: not compared" : ratio(each(a.total_cost, a), each(b.total_cost, b)),
    ],
  ];
  const newest = ([["A", a], ["B", b]] as const).filter(([, one]) => one.total > one.traces || one.total_is_at_least);
  return (
    <>
      {newest.length > 0 && <p class="hint">{newest.map(([name, one]) => `${name}: the newest ${count(one.traces)} of ${tracesText(one.total, one.total_is_at_least)}`).join(" · ")}</p>}
      {of.shared > 0 && <p class="problem">{plural(of.shared, "trace is", "traces are")} in both groups, so no interval is shown.</p>}
      <div class="scroll-x">
        <table class="plain-table numbers">
          <Head of={["Figure", "A", "B", "B against A"]} />
          <tbody>
            {rows.map(([name, cell, change]) => (
              <tr key={name}><th scope="row">{name}</th><td>{cell(a, "a")}</td><td>{cell(b, "b")}</td><td>{change}</td></tr>
            ))}
          </tbody>
        </table>
      </div>
      <h2>Scores</h2>
      {of.metrics.length === 0 ? <p class="hint">No trace of these groups has a score.</p> : <Scores metrics={of.metrics} />}
    </>
  );
}

/** How many times the one is the other; nothing where one isn't known or is 0. */
function ratio(a: number | null | undefined, b: number | null | undefined): string {
  if (a == null || b == null || a === 0) return NONE;
  const times = b / a;
  return times >= 10 ? `× ${times.toFixed(0)}` : `${times >= 1 ? "+" : "−"}${Math.abs((times - 1) * 100).toFixed(0)} %`;
}

function Scores({ metrics }: { metrics: readonly MetricComparisonResponse[] }): JSX.Element {
  // What got worse beyond chance comes first.
  const rows = metrics.flatMap((metric) => (metric.means.length > 0 ? metric.means : [null]).map((mean) => ({ metric, mean })));
  const rank = ({ mean }: (typeof rows)[number]): number => (mean?.difference?.is_beyond_chance ? mean.difference.value : 1);
  rows.sort((one, other) => rank(one) - rank(other));
  return (
    <div class="scroll-x">
      <table class="plain-table numbers">
        <Head of={["Score", "A", "B", "B − A", "Lowest in B"]} />
        <tbody>
          {rows.map(({ metric, mean }) => (
            <tr key={`${metric.name} ${metric.is_of_run} ${mean?.judge_kind} ${mean?.fingerprint}`}>
              <th scope="row">
                {metric.name} {mean?.judge_kind && <span class="tag">{mean.judge_kind}</span>}
                {!metric.is_of_run && <span class="tag">sent</span>}
                {metric.has_other_fingerprints && <small title="How scores were made: only equal ones are compared"> fingerprint {mean?.fingerprint?.slice(0, 8) ?? NONE}</small>}
              </th>
              {(["a", "b"] as const).map((side) => (
                <td key={side}>
                  {number(mean?.[side]?.mean)} {mean?.[side] && <small>of {count(mean[side].count)}</small>}
                  <Coverage compact of={metric[side]} />
                </td>
              ))}
              <td>{mean?.difference ? <Change of={mean.difference} isWorse={(value) => value < 0} /> : <small>{REASONS[mean?.no_interval ?? ""] ?? "no numbers"}</small>}</td>
              <td><Lowest of={mean} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Lowest({ of }: { of: MeanComparisonResponse | null }): JSX.Element {
  return (
    <span class="links">
      {of?.b?.lowest.slice(0, 3).map((one) => (
        <Link key={one.trace_id} href={projectPath(`traces/${one.trace_id}?tab=scores`)} aria-label={`Trace with ${number(one.value)}`}>{number(one.value)}</Link>
      ))}
    </span>
  );
}

function Change({ of, isWorse, isShare }: { of: Difference; isWorse: (value: number) => boolean; isShare?: boolean }): JSX.Element {
  const textOf = (value: number): string => (isShare ? `${value >= 0 ? "+" : "−"}${Math.abs(value * 100).toFixed(1)} points` : number(value, true));
  const text = textOf(of.value);
  const tone = !of.is_beyond_chance ? "" : isWorse(of.value) ? "worse" : "better";
  return (
    <>
      <b class={tone}>{tone === "worse" ? "▼ worse " : tone === "better" ? "▲ better " : ""}{text}</b>
      {of.low !== null && of.high !== null ? <Interval low={of.low} high={of.high} value={of.value} text={textOf} /> : <small> {REASONS[of.no_interval ?? ""]}</small>}
    </>
  );
}
