/** Two experiments: the verdict of the gate with its reasons, new failures, and what changed by item. */
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { useRead } from "../../api/queries.ts";
import { may, project, scopeHint } from "../../api/session.ts";
import type { ComparedSideResponse, ComparisonResponse, ExperimentItemResponse, NeededResponse, RuleFields, RuleResultResponse } from "../../api/types.d.ts";
import { NONE, cost, count, duration, percent, plural } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { Button, Empty, Loading, useTitle, Failed, Select } from "../../ui/basics.tsx";
import { Reason } from "../../ui/LongText.tsx";
import { Link } from "../../ui/Link.tsx";
import { usePages } from "../../ui/table/usePages.ts";
import { type UrlState, useUrlState } from "../../url/state.ts";
import { Interval, number } from "../compare/Interval.tsx";
import { CaseLinks, CaseScores, meanOf } from "./Experiment.tsx";
import { experimentPath, nameOf } from "./Experiments.tsx";
import { Head } from "../../ui/Head.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const LIMITS = ["max_drop", "min", "max_ratio"] as const;
const WORDS: Record<string, { mark: string; text: string }> = {
  pass: { mark: "✓", text: "Pass: each rule holds, with its whole interval" },
  regressed: { mark: "✕", text: "Regressed: at least one limit is exceeded beyond chance" },
  inconclusive: { mark: "?", text: "Inconclusive: too little is known to tell" },
  incomplete: { mark: "○", text: "Incomplete: too few scores, or these can’t be compared" },
};

/** `metric:max_drop:0.05:0.95` in the address. */
function ruleOf(text: string): RuleFields {
  const [metric = "", limit = "max_drop", value = "", confidence = "0.95"] = text.split(":");
  return { metric, [limit]: Number(value), confidence: Number(confidence) };
}

function textOf(rule: RuleFields): string {
  const limit = LIMITS.find((one) => rule[one] != null) ?? "max_drop";
  return [rule.metric, limit, rule[limit] ?? 0, rule.confidence ?? 0.95].join(":");
}

export function Verdict({ base, candidate }: { base: string; candidate: string }): JSX.Element {
  const url = useUrlState();
  const { params } = url;
  const asked = params.toString();
  const body = useMemo(() => {
    const sides = base === candidate ? { base, aa: true } : { base, candidate };
    const rules = params.getAll("rule").map(ruleOf);
    const [coverage, kappa] = [params.get("coverage"), params.get("min_kappa")];
    return { ...sides, ...(rules.length > 0 ? { rules } : {}), ...(coverage ? { coverage: Number(coverage) } : {}), ...(kappa ? { min_kappa: Number(kappa) } : {}) };
  }, [asked, base, candidate]);
  const isAllowed = may("evaluate") && may("read");
  const found = useRead<ComparisonResponse>("experiments/compare", {}, { body, enabled: isAllowed, keepPrevious: true });
  useTitle("Comparison", "Experiments", project.value?.name);
  useCurl("Gate", "the verdict", "experiments/compare", {}, body);
  const of = found.data;
  return (
    <div class="list-main scrolled">
      <header class="title">
        <h1>{base === candidate ? "Noise floor" : "Comparison of experiments"}</h1>
        {base !== candidate && <Link href={experimentPath(candidate, base)}>Swap sides</Link>}
      </header>
      {!isAllowed && <Empty title="Not allowed"><p>{scopeHint("evaluate", "read")}</p></Empty>}
      {isAllowed && found.isPending && <Loading what="the comparison" />}
      <Failed of={found} />
      {of && (
        <>
          <p class={`verdict v-${of.verdict}`} role="status">
            <b aria-hidden="true">{WORDS[of.verdict]?.mark}</b> <strong>{WORDS[of.verdict]?.text}</strong>
          </p>
          <Mismatches of={of} />
          {(of.failures > 0 || of.new_failures.length > 0) && <NewFailures of={of} />}
          <h2>Rules</h2>
          <Rules of={of} url={url} />
          {of.noise_floor && <p class="hint">Noise floor of the baseline: {Object.entries(of.noise_floor).map(([metric, floor]) => `${metric} ${number(floor)}`).join(", ")}. Narrower rules are refused.</p>}
          <h2>Figures</h2>
          <Sides of={of} />
          {base !== candidate && <ByItem base={base} candidate={candidate} metrics={[...new Set(of.results.map((one) => one.rule.metric))].filter((one) => !FIGURES.includes(one))} />}
        </>
      )}
    </div>
  );
}

const FIGURES = ["latency_ms", "tokens", "cost_usd"];

const HASHES = ["dataset version", "fingerprint"];

function partsOf(what: string, parts: readonly string[]): string {
  return parts.map((part) => (HASHES.includes(what) ? part.slice(0, 12) : part)).join(", ") || NONE;
}

function Mismatches({ of }: { of: ComparisonResponse }): JSX.Element | null {
  if (of.mismatches.length === 0) return null;
  const { rescoring } = of;
  return (
    <div class="error-text" role="alert">
      <ul>
        {of.mismatches.map((one) => (
          <li key={`${one.what} ${one.metric}`}>
            {one.metric && <b>{one.metric}: </b>}another {one.what}: <code>{partsOf(one.what, one.base)}</code> and <code>{partsOf(one.what, one.candidate)}</code>
          </li>
        ))}
      </ul>
      {rescoring && <p>Score {plural(rescoring.targets, "trace")} of the baseline again with {rescoring.metrics.join(", ")}{rescoring.estimated_cost_usd !== null && `, for about ${cost(rescoring.estimated_cost_usd)}`}; then they can be compared.</p>}
    </div>
  );
}

function NewFailures({ of }: { of: ComparisonResponse }): JSX.Element {
  return (
    <>
      <h2>New failures: {count(of.failures)}</h2>
      {of.failures > of.new_failures.length && <p class="hint">The first {count(of.new_failures.length)} are shown.</p>}
      <div class="scroll-x">
        <table class="plain-table">
          <Head of={["Item", "Metric", "#Before", "#Now", "#Threshold", "Why", "Traces"]} />
          <tbody>
            {of.new_failures.map((one) => (
              <tr key={`${one.item} ${one.metric}`}>
                <th scope="row">{one.item}</th>
                <td>{one.metric}</td>
                <td class="c-number">{number(one.base)}</td>
                <td class="c-number bad-text">{number(one.candidate)}</td>
                <td class="c-number">{number(one.threshold)}</td>
                <td><Reason text={[...new Set(one.results.flatMap((result) => result.scores.filter((score) => score.metric === one.metric).map((score) => score.reason ?? score.code ?? "")))].filter(Boolean).join(" · ")} /></td>
                <td><CaseLinks results={one.results} missing={0} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function neededText(of: NeededResponse): string {
  const price = (usd: number | null): string => (usd === null ? "" : ` for about ${cost(usd)}`);
  const parts = [
    of.items !== null && `about ${plural(of.items, "more item")}${price(of.items_cost_usd)}`,
    of.repetitions !== null && `${plural(of.repetitions, "repetition")} of each item${price(of.repetitions_cost_usd)}`,
  ].filter(Boolean);
  return parts.length > 0 ? `Would decide it: ${parts.join(", or ")}.` : "Nothing that is allowed would decide it soon.";
}

function Rules({ of, url }: { of: ComparisonResponse; url: UrlState }): JSX.Element {
  const isOwn = url.params.has("rule");
  const rules = isOwn ? url.params.getAll("rule").map(ruleOf) : of.results.map((one) => one.rule);
  const set = (next: readonly RuleFields[]): void => url.update({ rule: next.map(textOf) }, { push: true });
  const change = (at: number, rule: RuleFields): void => set(rules.map((one, index) => (index === at ? rule : one)));
  const metrics = [...new Set([...of.results.map((one) => one.rule.metric), ...FIGURES])];
  useCommands([{ keys: "a", label: "Add a rule", group: "Gate", run: () => set([...rules, { metric: metrics[0] ?? "latency_ms", max_drop: 0.05 }]) }]);
  const numeric = (name: "coverage" | "min_kappa", label: string, fallback: string, min: number): JSX.Element => (
    <label>
      {label} <input type="number" step="0.01" min={min} max={1} placeholder={fallback} value={url.params.get(name) ?? ""} onChange={(event) => url.update({ [name]: event.currentTarget.value || null }, { push: true })} />
    </label>
  );
  return (
    <>
      <div class="scroll-x">
        <table class="plain-table numbers">
          <Head of={["Rule", "Verdict", "Before", "Now", "Change", "Why"]} />
          <tbody>
            {rules.map((rule, at) => <RuleRow key={at} at={at} rule={rule} result={of.results[at]} metrics={metrics} change={(next) => change(at, next)} drop={() => set(rules.filter((_, index) => index !== at))} canDrop={isOwn || rules.length > 1} />)}
          </tbody>
        </table>
      </div>
      <p class="actions">
        <Button icon="plus" onClick={() => set([...rules, { metric: metrics[0] ?? "latency_ms", max_drop: 0.05 }])}>Add a rule</Button>
        {numeric("coverage", "Least coverage", "0.95", 0)}
        {numeric("min_kappa", "Least κ of a judge", "none", -1)}
        {url.params.size > 0 && <Button class="link" onClick={() => url.update({ rule: null, coverage: null, min_kappa: null }, { push: true })}>Default rules</Button>}
      </p>
    </>
  );
}

function RuleRow(props: { at: number; rule: RuleFields; result: RuleResultResponse | undefined; metrics: readonly string[]; change: (rule: RuleFields) => void; drop: () => void; canDrop: boolean }): JSX.Element {
  const { rule, result } = props;
  const limit = LIMITS.find((one) => rule[one] != null) ?? "max_drop";
  const value = rule[limit] ?? 0;
  const label = `rule ${props.at + 1}`;
  const confidence = rule.confidence ?? 0.95;
  const isFigure = FIGURES.includes(rule.metric);
  const set = (metric: string, kind: string, next: number): void => props.change({ metric, [kind]: next, confidence });
  const shown = (mean: number | null | undefined): string => (rule.metric === "latency_ms" ? duration(mean) : rule.metric === "cost_usd" ? cost(mean) : rule.metric === "tokens" ? count(mean && Math.round(mean)) : number(mean));
  return (
    <tr>
      <th scope="row">
        <span class="actions">
          <Select aria-label={`Metric of ${label}`} value={rule.metric} choose={(metric) => (FIGURES.includes(metric) ? set(metric, "max_ratio", 1.2) : set(metric, isFigure ? "max_drop" : limit, isFigure ? 0.05 : value))} options={props.metrics} />
          <Select aria-label={`Limit of ${label}`} value={limit} choose={(chosen) => set(rule.metric, chosen, value)} options={LIMITS.filter((one) => (one === "max_ratio") === isFigure).map((one) => [one, one.replace("_", " ")])} />
          <input aria-label={`Value of ${label}`} type="number" step="0.01" min={0} max={isFigure ? 1000 : 1} value={value} onChange={(event) => { const next = event.currentTarget.valueAsNumber; if (!Number.isNaN(next)) set(rule.metric, limit, next); }} />
          {props.canDrop && <Button class="quiet" icon="close" label={`Drop ${label}`} onClick={props.drop} />}
        </span>
      </th>
      {result ? (
        <>
          <td><b class={`word v-${result.verdict}`}>{WORDS[result.verdict]?.mark} {result.verdict}</b></td>
          <td>{shown(result.base_mean)} <small>{percent(result.base_coverage, 1)} covered</small></td>
          <td>{shown(result.candidate_mean)} <small>{percent(result.candidate_coverage, 1)} covered</small></td>
          <td>
            {limit === "max_ratio" ? (result.change === null ? NONE : `× ${result.change.toFixed(2)}`) : number(result.change, limit === "max_drop")}
            {limit === "max_drop" && result.low !== null && result.high !== null && result.change !== null ? <Interval low={result.low} high={result.high} value={result.change} limit={-value} /> : result.low !== null && result.high !== null && <small> {result.low.toFixed(2)} to {result.high.toFixed(2)}</small>}
          </td>
          <td>
            {result.why} <small>{plural(result.items, "item")}{result.kappa !== null && `, κ ${result.kappa.toFixed(2)}`}</small>
            {result.needed && <p class="needed">{neededText(result.needed)}</p>}
          </td>
        </>
      ) : <td colSpan={5}>…</td>}
    </tr>
  );
}

function Sides({ of }: { of: ComparisonResponse }): JSX.Element {
  const rows: [string, (one: ComparedSideResponse) => string, ((one: ComparedSideResponse) => number)?][] = [
    ["Results", (one) => `${count(one.results)} of ${plural(one.cases, "case")}`],
    ["Latency", (one) => duration(one.latency_ms), (one) => one.latency_items],
    ["Tokens", (one) => count(one.tokens === null ? null : Math.round(one.tokens)), (one) => one.tokens_items],
    ["Cost of a case", (one) => cost(one.cost_usd), (one) => one.cost_items],
    ["Cost of all traces", (one) => (one.cost_items === 0 ? NONE : cost(one.total_cost_usd)), (one) => one.cost_items],
    ["Cost of the judge", (one) => cost(one.judge_cost_usd, one.unpriced_calls)],
  ];
  return (
    <div class="scroll-x">
      <table class="plain-table numbers">
        <thead><tr><th scope="col">Mean over items</th>{[of.base, of.candidate].map((one, at) => <th key={at} scope="col">{at === 0 ? "Baseline" : "Candidate"}: <Link href={experimentPath(one.id)}>{nameOf(one)}</Link></th>)}</tr></thead>
        <tbody>{rows.map(([name, cell, itemsOf]) => <tr key={name}><th scope="row">{name}</th>{[of.base, of.candidate].map((one, at) => <td key={at}>{cell(one)}{itemsOf && <small> of {plural(itemsOf(one), "item")}</small>}</td>)}</tr>)}</tbody>
      </table>
    </div>
  );
}

function ByItem({ base, candidate, metrics }: { base: string; candidate: string; metrics: readonly string[] }): JSX.Element {
  const before = usePages<ExperimentItemResponse>(`experiments/${base}/items`, { limit: 200 });
  const now = usePages<ExperimentItemResponse>(`experiments/${candidate}/items`, { limit: 200 });
  const [isAll, showAll] = useState(false);
  const known = new Map(before.rows.map((one) => [one.item, one]));
  const rows = now.rows.map((one) => ({ one, old: known.get(one.item) }));
  const mean = (of: ExperimentItemResponse | undefined, metric: string): number | null =>
    meanOf((of?.results ?? []).flatMap((result) => result.scores.filter((score) => score.metric === metric && score.value !== null).map((score) => Number(score.value))));
  const differs = ({ one, old }: (typeof rows)[number]): boolean => metrics.some((metric) => mean(one, metric) !== mean(old, metric));
  const shown = isAll ? rows : rows.filter(differs);
  return (
    <>
      <header class="title">
        <h2>By item</h2>
        <label class="check"><input type="checkbox" checked={isAll} onChange={() => showAll(!isAll)} /> also items without a change</label>
        <small>{now.rows.length > 0 ? `${count(rows.filter(differs).length)} of ${count(rows.length)} changed${rows.length < now.total ? `, of ${count(now.total)} in all` : ""}` : ""}</small>
      </header>
      <Failed of={now} />
      {!now.isRead && now.error == null && <Loading what="items" />}
      {shown.length > 0 && (
        <div class="scroll-x">
          <table class="plain-table">
            <Head of={["Item", ...metrics, "Before", "Now"]} />
            <tbody>
              {shown.map(({ one, old }) => (
                <tr key={one.item}>
                  <th scope="row">{one.item}</th>
                  {metrics.map((metric) => <td key={metric}>{old ? <CaseScores results={old.results} metric={metric} missing={old.missing} /> : NONE} → <CaseScores results={one.results} metric={metric} missing={one.missing} /></td>)}
                  <td>{old && <CaseLinks results={old.results} missing={old.missing} />}</td>
                  <td><CaseLinks results={one.results} missing={one.missing} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {now.rows.length < now.total && <p><Button onClick={() => { before.more(); now.more(); }}>Load more items: {count(now.rows.length)} of {count(now.total)}</Button></p>}
    </>
  );
}
