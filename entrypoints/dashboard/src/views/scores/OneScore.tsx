/** The scores of one name: how they went, what they are of, where the judge changed, who agrees. */
import type { JSX } from "preact";
import { useRead } from "../../api/queries.ts";
import { project } from "../../api/session.ts";
import type { AgreementItem, ConfusionCell, PairedTracesResponse, ScoreDistributionItem, ScoreSummaryItem, ScoreTrendItem, TraceScoreResponse } from "../../api/types.d.ts";
import { STEP_MS, utcStarts } from "../../lib/chart/buckets.ts";
import { scoreBelow } from "../../lib/filters.ts";
import { count, instant, NONE, percent, plural } from "../../lib/format.ts";
import { atStarts, codesOf, coveredBy, fingerprintChanges, TARGETS, type Target } from "../../lib/score-figures.ts";
import { Empty, isolated, useTitle, Failed, Select } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Chart } from "../../ui/chart/Chart.tsx";
import { Coverage } from "../../ui/chart/Coverage.tsx";
import { ownPeriod, PeriodPicker, usePeriod, type Period } from "../../ui/chart/Period.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState, type UrlState } from "../../url/state.ts";
import { Panel, Tile } from "../overview/parts.tsx";
import { datesOf, FALLBACK, Judge } from "./AllScores.tsx";
import { ScoreList } from "./ScoreList.tsx";
import { meanText, passText, thresholdText } from "./texts.ts";
import { Head } from "../../ui/Head.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const BINS = 20;
const SAMPLE = 200; // of one page
const CALIBRATED_FROM = 30; // labels

interface Page {
  items: TraceScoreResponse[];
  total: number;
}

export function OneScore({ name }: { name: string }): JSX.Element {
  useTitle(name, "Scores", project.value?.name);
  const url = useUrlState();
  const period = usePeriod(url, FALLBACK);
  const of: Target = TARGETS.find((one) => `${one}s` === url.params.get("of")) ?? "trace";
  const kind = url.params.get("judge_kind");
  const path = `evaluations/analytics/${of}-scores`;
  const dates = datesOf(period);
  const chosen = { ...dates, ...(kind === null ? {} : { judge_kind: kind }) };
  const keep = { keepPrevious: true };
  const summary = useRead<ScoreSummaryItem[]>(`${path}/summary`, chosen, keep);
  const asked = { metric_name: name, granularity: period.granularity, empty_buckets: true, ...chosen };
  const trend = useRead<ScoreTrendItem[]>(`${path}/trend`, asked, keep);
  const distribution = useRead<ScoreDistributionItem[]>(`${path}/distribution`, { metric_name: name, buckets: BINS, empty_buckets: true, ...chosen }, keep);
  useCurl("Scores", "the trend", `${path}/trend`, asked);
  const one = summary.data?.find((item) => item.metric_name === name);
  const points = trend.data ?? [];
  const starts = utcStarts(period.from, period.to, period.granularity);
  const changes = fingerprintChanges(points);
  const threshold = one?.max_threshold ?? 0.5;
  return (
    <div class="page">
      <header class="title">
        <h1>{name}</h1>
        <Select aria-label="Scores of" value={of} choose={(value) => url.update({ of: `${value}s`, outcome: null, cell: null }, { push: true })} options={TARGETS.map((target) => [target, `of ${target}s`])} />
        <Select aria-label="Kind of judge" value={kind} choose={(value) => url.update({ judge_kind: value || null }, { push: true })} options={[["", "kind of the newest score"], ["model", "models"], ["heuristic", "heuristics"]]} />
        <PeriodPicker url={url} period={period} fallback={FALLBACK} />
      </header>
      {summary.isSuccess && one === undefined && (
        <Empty title={`No score ${isolated(name)} of a ${of} in this period: ${period.text}`}>
          <p>Choose a longer period, or another kind of target.</p>
          <Link href={projectPath("scores")}>All scores</Link>
        </Empty>
      )}
      {one && (
        <>
          <dl class="tiles" aria-label="Figures">
            <Tile label="Mean" value={meanText(one.avg_score)}>
              {one.count === 0 ? "no number" : `of ${plural(one.count, "number")}, median ${meanText(one.median_score)}`} <Judge of={one} />
            </Tile>
            <Tile label="Passed" value={passText(one)}>{one.passed_count === null ? "no number has a threshold" : `threshold ${thresholdText(one)}`}</Tile>
            <Tile label="Coverage" value={count(one.success_count)}><Coverage of={coveredBy(one)} /></Tile>
            <Tile label="Fingerprints" value={count(one.fingerprints.length)}>
              {one.fingerprints.length > 1 ? "the judge changed: compare only within" : (one.fingerprints[0]?.slice(0, 16) ?? (one.from_runs ? "none stored" : "not given by runs"))}
            </Tile>
          </dl>
          {one.left_out_count > 0 && <p class="hint">{`${plural(one.left_out_count, "number")} of other kinds of judges, of people or of programs are left out of the mean: they don't share a line.`}</p>}
          <div class="panels">
            <Panel wide title="Trend" reads={[trend]} link={<small>{changes.length === 0 ? (one.fingerprints.length === 0 ? "no fingerprint is known" : "one fingerprint") : `◆ ${plural(changes.length, "change")} of the judge`}</small>}>
              {() => (
                <>
                  <Chart
                    title="Trend"
                    summary={`mean of ${plural(one.count, "number")} by ${period.granularity}, with the band from p10 to p90`}
                    times={starts}
                    step={STEP_MS[period.granularity]}
                    most={1}
                    text={(value) => value.toFixed(2)}
                    series={[
                      {
                        label: "mean",
                        tone: 1,
                        values: atStarts(points, starts, (point) => point.avg_score),
                        band: { low: atStarts(points, starts, (point) => point.p10), high: atStarts(points, starts, (point) => point.p90) },
                      },
                    ]}
                    coverage={atStarts(points, starts, coveredBy).map((covered) => covered ?? { scored: 0, skipped: 0, failed: 0 })}
                    marks={changes}
                    limits={one.max_threshold === null ? [] : [{ value: one.max_threshold, label: "threshold" }]}
                    onRange={(from, to) => url.update(ownPeriod(from, to), { push: true })}
                  />
                  {changes.length > 0 && <ul class="changes">{changes.map((change) => <li key={change.at}><small>◆ {instant(change.at)}: {change.label}</small></li>)}</ul>}
                </>
              )}
            </Panel>
            <Panel title="Distribution" reads={[distribution]}>
              {() => <Bins bins={distribution.data!} threshold={one.max_threshold} url={url} traces={of === "trace" ? name : null} />}
            </Panel>
            <Reasons of={of} name={name} dates={dates} one={one} url={url} />
            {of === "trace" && <Agreement name={name} period={period} threshold={threshold} url={url} />}
          </div>
        </>
      )}
      <div hidden={summary.isPending}>
        <ScoreList of={of} name={name} dates={dates} url={url} />
      </div>
    </div>
  );
}

function Bins({ bins, threshold, url, traces }: { bins: readonly ScoreDistributionItem[]; threshold: number | null; url: UrlState; traces: string | null }): JSX.Element {
  const most = Math.max(1, ...bins.map((one) => one.count));
  const numbers = bins.reduce((sum, one) => sum + one.count, 0);
  if (numbers === 0) return <p class="none">No number in this period.</p>;
  const low = threshold === null ? 0 : bins.reduce((sum, one) => sum + (one.bucket_max <= threshold ? one.count : 0), 0);
  return (
    <figure class="bins">
      <div class="bars" role="group" aria-label={`${plural(numbers, "number")} between 0 and 1${threshold === null ? "" : `, ${percent(low, numbers)} in bins below the threshold ${threshold}`}`}>
        {bins.map((one) => {
          const [from, below] = [String(one.bucket_min), one.bucket_max < 1 ? String(one.bucket_max) : null];
          const isChosen = url.params.get("min_value") === from;
          const text = `${one.bucket_min} to ${one.bucket_max}: ${count(one.count)}`;
          return (
            <button key={one.bucket} type="button" aria-label={text} title={text} aria-pressed={isChosen} disabled={one.count === 0} onClick={() => url.update(isChosen ? { min_value: null, below_value: null } : { min_value: from, below_value: below }, { push: true })}>
              <i class={threshold !== null && one.bucket_max <= threshold ? "below" : ""} style={{ height: `${(one.count / most) * 100}%` }} />
            </button>
          );
        })}
        {threshold !== null && <b style={{ left: `${threshold * 100}%` }} title={`threshold ${threshold}`} />}
      </div>
      <figcaption><small>0</small><small>{threshold === null ? "no threshold" : `threshold ${threshold}`}</small><small>1</small></figcaption>
      {bins[0] && <Coverage of={coveredBy(bins[0])} />}
      {traces !== null && <TracesWith name={traces} least={url.params.get("min_value")} below={url.params.get("min_value") ? url.params.get("below_value") : threshold} />}
    </figure>
  );
}

/** The traces whose newest score is in the chosen bin, else below the threshold. Of any time. */
function TracesWith({ name, least, below }: { name: string; least: string | null; below: string | number | null }): JSX.Element {
  const bounds = { score: name, ...(least && { score_min: least }), ...(below !== null && { score_max: scoreBelow(Number(below)) }) };
  return <p><Link href={`${projectPath("traces")}?${new URLSearchParams(bounds)}`}>{`Traces with a newest score ${least ? `from ${least} ` : ""}${below === null ? "" : `below ${below}`}`}</Link></p>;
}

/** Why there is no number: by code, among the newest scores without one. */
function Reasons({ of, name, dates, one, url }: { of: Target; name: string; dates: Record<string, string>; one: ScoreSummaryItem; url: UrlState }): JSX.Element {
  const path = of === "session" ? "evaluations/session-scores" : "evaluations/trace-scores";
  const query = { name, limit: SAMPLE, ...dates, ...(of === "span" ? { of_spans: true } : {}) };
  const skipped = useRead<Page>(path, { ...query, outcome: "skipped" }, { enabled: one.skipped_count > 0 });
  const failed = useRead<Page>(path, { ...query, outcome: "failed" }, { enabled: one.failed_count > 0 });
  const known = [...(one.skipped_count > 0 ? [{ outcome: "skipped", read: skipped }] : []), ...(one.failed_count > 0 ? [{ outcome: "failed", read: failed }] : [])];
  return (
    <Panel title="Without a number" reads={known.map(({ read }) => read)}>
      {() =>
        known.length === 0 ? (
          <p class="none">No score was skipped or failed in this period.</p>
        ) : (
          <table class="plain-table">
            <Head of={["Reason", "Outcome", "Scores"]} />
            <tbody>
              {known.flatMap(({ outcome, read }) =>
                codesOf(read.data!.items).map(([code, times]) => (
                  <tr key={`${outcome} ${code}`}>
                    <th scope="row"><code>{code}</code></th>
                    <td><button type="button" class="link" onClick={() => url.update({ outcome }, { push: true })}>{outcome}</button></td>
                    <td>{count(times)}{read.data!.total > read.data!.items.length && <small> of the newest {count(SAMPLE)}</small>}</td>
                  </tr>
                )),
              )}
            </tbody>
          </table>
        )
      }
    </Panel>
  );
}

const CELLS: readonly { cell: ConfusionCell; judge: string; people: string }[] = [
  { cell: "both_pass", judge: "passes", people: "pass" },
  { cell: "only_judge_passes", judge: "passes", people: "fail" },
  { cell: "only_people_pass", judge: "fails", people: "pass" },
  { cell: "both_fail", judge: "fails", people: "fail" },
];

function Agreement({ name, period, threshold, url }: { name: string; period: Period; threshold: number; url: UrlState }): JSX.Element {
  const found = useRead<AgreementItem[]>("evaluations/analytics/agreement", { name, threshold, ...datesOf(period) }, { keepPrevious: true });
  const cell = CELLS.find((one) => one.cell === url.params.get("cell"))?.cell ?? null;
  const judge = url.params.get("judge") ?? "";
  return (
    <Panel title="Agreement with people" reads={[found]}>
      {() => {
        const judges = found.data!.filter((one) => one.n > 0);
        if (judges.length === 0) return <p class="none">No trace has both a score of a judge and a label of a person in this period.</p>;
        return (
          <>
            {judges.map((one) => {
              const { value, low, high, reason } = one.kappa;
              return (
                <div key={one.fingerprint ?? ""} class="judge">
                  <p>
                    <Judge of={one} /> <small title={one.fingerprint ?? ""}>{one.fingerprint?.slice(0, 12) ?? "no fingerprint"}</small>{" "}
                    <strong title={reason ?? ""}>κ {value === null ? NONE : value.toFixed(2)}</strong>{" "}
                    <small>{low === null || high === null ? (reason ?? "no interval") : `95 % from ${low.toFixed(2)} to ${high.toFixed(2)}`} · n = {count(one.n)}</small>{" "}
                    {!one.calibrated && <span class="tag" title={`Fewer than ${CALIBRATED_FROM} traces with both`}>not calibrated below {CALIBRATED_FROM}</span>}
                  </p>
                  <table class="plain-table">
                    <thead>
                      <tr>
                        <th scope="col">At {threshold}</th>
                        <th scope="col">People pass</th>
                        <th scope="col">People fail</th>
                      </tr>
                    </thead>
                    <tbody>
                      {["passes", "fails"].map((verdict) => (
                        <tr key={verdict}>
                          <th scope="row">Judge {verdict}</th>
                          {CELLS.filter((place) => place.judge === verdict).map((place) => (
                            <td key={place.cell}>
                              <button type="button" class="link" aria-pressed={cell === place.cell && judge === (one.fingerprint ?? "")} aria-label={`Traces where the judge ${verdict} and people ${place.people}: ${one.confusion[place.cell]}`} onClick={() => url.update(cell === place.cell && judge === (one.fingerprint ?? "") ? { cell: null, judge: null } : { cell: place.cell, judge: one.fingerprint }, { push: true })}>
                                {count(one.confusion[place.cell])}
                              </button>
                            </td>
                          ))}
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
              );
            })}
            {cell && <CellTraces judge={judge} query={{ name, threshold, cell, ...datesOf(period) }} />}
          </>
        );
      }}
    </Panel>
  );
}

function CellTraces({ judge, query }: { judge: string; query: Record<string, unknown> }): JSX.Element {
  const found = useRead<PairedTracesResponse>("evaluations/analytics/agreement/traces", { ...query, fingerprint: judge });
  if (found.isError) return <Failed of={found} />;
  if (!found.data) return <p class="hint">Loading traces …</p>;
  const { items, total } = found.data;
  const traces = items.filter((one) => (one.fingerprint ?? "") === judge);
  return (
    <div role="region" aria-label="Traces of the cell">
      <ul>
        {traces.map((one) => <li key={one.trace_id}><Link href={`${projectPath(`traces/${one.trace_id}`)}?tab=scores`}>{one.trace_id}</Link> <small>judge {one.judge}, people {one.person}</small></li>)}
      </ul>
      <small>{`${plural(traces.length, "trace")}${total > items.length ? ` among the ${count(items.length)} that were labelled last, of ${count(total)}` : ""}`}</small>
    </div>
  );
}
