/** The scores of a project: one row for each name and kind of target. */
import type { JSX } from "preact";
import { useRead } from "../../api/queries.ts";
import { project } from "../../api/session.ts";
import type { ScoreSummaryItem, ScoreTrendItem } from "../../api/types.d.ts";
import { utcStarts } from "../../lib/chart/buckets.ts";
import { ago, count, fullInstant, plural } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import { atStarts, coveredBy, TARGETS, type Target } from "../../lib/score-figures.ts";
import { Empty, Loading, useTitle } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Sparkline } from "../../ui/chart/Chart.tsx";
import { Coverage } from "../../ui/chart/Coverage.tsx";
import { PeriodPicker, usePeriod, type Period } from "../../ui/chart/Period.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState } from "../../url/state.ts";
import { Panel } from "../overview/parts.tsx";
import { meanText, passText, thresholdText } from "./texts.ts";
import { Head } from "../../ui/Head.tsx";
import { useCurl } from "../../ui/useCurl.ts";

export const FALLBACK = "7d";
const TRENDS = 20; // of one request

export function datesOf(period: Period): { date_from: string; date_to: string } {
  return { date_from: new Date(period.from).toISOString(), date_to: new Date(period.to).toISOString() };
}

export function AllScores(): JSX.Element {
  useTitle("Scores", project.value?.name);
  const url = useUrlState();
  const period = usePeriod(url, FALLBACK, true);
  // Together, or each would move what is below it.
  const isPending = TARGETS.map((of) => useSummary(of, period)).some((one) => one.isPending);
  const wanted = (url.params.get("q") ?? "").toLowerCase();
  useCommands([{ keys: "/", label: "Find a score by its name", group: "Scores", run: () => document.getElementById("score-name")?.focus() }]);
  useCurl("Scores", "the summary", "evaluations/analytics/trace-scores/summary", datesOf(period));
  return (
    <div class="page">
      <header class="title">
        <h1>Scores</h1>
        <input id="score-name" type="search" aria-label="Name contains" placeholder="Name" value={wanted} onInput={(event) => url.update({ q: event.currentTarget.value || null })} />
        <PeriodPicker url={url} period={period} fallback={FALLBACK} />
      </header>
      {isPending ? <Loading what="scores" /> : TARGETS.map((of) => <OfTarget key={of} of={of} period={period} wanted={wanted} search={url.params} />)}
    </div>
  );
}

function useSummary(of: Target, period: Period) {
  return useRead<ScoreSummaryItem[]>(`evaluations/analytics/${of}-scores/summary`, datesOf(period), { keepPrevious: true });
}

function OfTarget({ of, period, wanted, search }: { of: Target; period: Period; wanted: string; search: URLSearchParams }): JSX.Element | null {
  const path = `evaluations/analytics/${of}-scores`;
  const dates = datesOf(period);
  const summary = useSummary(of, period);
  const rows = (summary.data ?? []).filter((one) => one.metric_name.toLowerCase().includes(wanted));
  const names = rows.slice(0, TRENDS).map((one) => one.metric_name);
  const trend = useRead<ScoreTrendItem[]>(`${path}/trend`, { metric_name: names, granularity: period.granularity, ...dates }, { enabled: names.length > 0, keepPrevious: true });
  const starts = utcStarts(period.from, period.to, period.granularity);
  const to = (name: string): string => {
    const query = new URLSearchParams(search);
    query.delete("q");
    query.set("of", `${of}s`);
    return `${projectPath(`scores/${encodeURIComponent(name)}`)}?${query.toString().replace(/%3A/g, ":")}`;
  };
  if (of === "span" && summary.data?.length === 0) return null; // spans are scored by programs and people only
  return (
    <Panel wide title={`Scores of ${of}s`} reads={[summary]} link={summary.data ? <small>{plural(rows.length, "name")}</small> : null}>
      {() =>
        rows.length === 0 ? (
          <Empty title={wanted === "" ? `No score of a ${of} in this period: ${period.text}` : `No name contains “${wanted}”`}>
            <p>Runs, programs and people give scores. Choose a longer period, or score traces and sessions from their lists.</p>
          </Empty>
        ) : (
          <div class="scroll" tabIndex={0} role="region" aria-label={`Scores of ${of}s: table`}>
            <table class="plain-table scores">
              <Head of={["Name", "Mean", "Coverage", "Trend", "Passed", "Threshold", "Judge", "Last"]} />
              <tbody>
                {rows.map((one) => (
                  <tr key={one.metric_name}>
                    <th scope="row"><Link href={to(one.metric_name)}>{one.metric_name}</Link></th>
                    <td>
                      <span title={one.count === 0 ? "No number in this period" : `The mean of ${plural(one.count, "number")}`}>{meanText(one.avg_score)}</span> <Judge of={one} />{" "}
                      <small>{plural(one.count, "number")}</small>
                    </td>
                    <td><Coverage of={coveredBy(one)} /></td>
                    <td>
                      {names.includes(one.metric_name) ? (
                        <Sparkline values={atStarts((trend.data ?? []).filter((point) => point.metric_name === one.metric_name), starts, (point) => point.avg_score)} summary={`${one.metric_name}: its mean by ${period.granularity}`} />
                      ) : (
                        <small>open it to see</small>
                      )}
                    </td>
                    <td>{passText(one)}</td>
                    <td>{thresholdText(one)}</td>
                    <td>{one.fingerprints.length > 1 ? <span class="tag" title={one.fingerprints.join("\n")}>{`${count(one.fingerprints.length)} fingerprints`}</span> : <small title={one.fingerprints[0] ?? ""}>{one.fingerprints[0]?.slice(0, 12) ?? (one.from_runs ? "by runs" : "not by runs")}</small>}</td>
                    <td><time title={fullInstant(one.latest_score_at)}>{ago(one.latest_score_at)}</time></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )
      }
    </Panel>
  );
}

/** The kind of judge of a mean: heuristics and models never share one. */
export function Judge({ of }: { of: { judge_kind: string | null } }): JSX.Element | null {
  return of.judge_kind === null ? null : <span class="tag">{of.judge_kind}</span>;
}
