/** The newest score of a name, in few characters. What was not measured has no number. */
import type { JSX } from "preact";
import type { ListedScore } from "../api/types.d.ts";
import { NONE, startOf } from "../lib/format.ts";

const SHOWN = 5; // characters of a value

export function ScoreBadge({ score }: { score: ListedScore }): JSX.Element {
  const value = score.value ?? score.outcome;
  const verdict = score.passed ? "passed" : "not passed";
  const hint = score.passed === null ? "" : `, ${verdict}: the threshold is ${score.threshold}`;
  return (
    <span class={`score o-${score.outcome} ${score.passed === false ? "not-passed" : ""}`} title={`${score.name}: ${value}${hint}${score.judge_kind === null ? "" : `, ${score.judge_kind}`}`}>
      <span>{score.name}</span> {score.value === null ? NONE : startOf(score.value, SHOWN)}
      {score.passed !== null && <span role="img" aria-label={verdict}>{score.passed ? " ✓" : " ✗"}</span>}
    </span>
  );
}

/** Those that fit a line, and how many there are. `title` names all. */
export function Fitting({ title, children }: { title: readonly string[]; children: JSX.Element[] }): JSX.Element {
  return (
    <span class="fitting" title={title.join("\n")}>
      <span>{children}</span>
      {title.length > 1 && <small>of {title.length}</small>}
    </span>
  );
}

export function ScoreLine({ scores = [] }: { scores: readonly ListedScore[] | undefined }): JSX.Element {
  return <Fitting title={scores.map((one) => `${one.name} ${one.value ?? one.outcome}`)}>{scores.map((one) => <ScoreBadge key={one.name} score={one} />)}</Fitting>;
}
