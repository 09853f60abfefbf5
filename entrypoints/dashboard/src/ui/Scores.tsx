/** Scores of a trace, a span or a session. What was not measured is not a number. */
import type { JSX } from "preact";
import { useRead } from "../api/queries.ts";
import type { SessionScoreResponse, TraceScoreResponse } from "../api/types.d.ts";
import { ago, fullInstant, NONE } from "../lib/format.ts";
import { Empty, Loading, Failed } from "./basics.tsx";
import { Reason } from "./LongText.tsx";
import { Head } from "./Head.tsx";

type Score = TraceScoreResponse | SessionScoreResponse;

export function Scores({ path, query }: { path: string; query?: Record<string, string> }): JSX.Element {
  const scores = useRead<Score[]>(path, query ?? {});
  if (scores.isError) return <Failed of={scores} />;
  if (!scores.data) return <Loading what="scores" />;
  if (scores.data.length === 0) return <Empty title="No score yet" />;
  return (
    <table class="plain-table">
      <Head of={["Score", "Value", "By", "Reason"]} />
      <tbody>
        {scores.data.map((score) => (
          <tr key={score.id}>
            <th scope="row">{score.name}</th>
            <td class={`o-${score.outcome}`} title={String(score.outcome).toLowerCase()}>
              {score.value ?? `${NONE} ${String(score.status).toLowerCase()}`}
            </td>
            <td>
              {String(score.source).toLowerCase()}
              <br />
              <small title={fullInstant(score.created_at)}>{ago(score.created_at)}</small>
            </td>
            <td><Reason text={score.reason} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
