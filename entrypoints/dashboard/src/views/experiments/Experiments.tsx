/** The experiments of a project, newest first; of one dataset, if the address names it. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { project } from "../../api/session.ts";
import type { ExperimentResponse } from "../../api/types.d.ts";
import { NONE, ago, count, fullInstant } from "../../lib/format.ts";
import { Button, Empty, useTitle } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { More, Paged, Total } from "../../ui/table/Paged.tsx";
import { usePages } from "../../ui/table/usePages.ts";
import { useUrlState } from "../../url/state.ts";
import { Head } from "../../ui/Head.tsx";
import { useCurl } from "../../ui/useCurl.ts";

export function nameOf(one: { id: string; name: string | null; release: string | null }): string {
  return one.name ?? one.release ?? one.id.slice(0, 8);
}

export function experimentPath(id: string, other?: string): string {
  return projectPath(`experiments/${id}${other === undefined ? "" : `/compare/${other}`}`);
}

export function Experiments(): JSX.Element {
  useTitle("Experiments", project.value?.name);
  const { params, update } = useUrlState();
  const [, navigate] = useLocation();
  const dataset = params.get("dataset");
  useCurl("Experiments", "the list", "experiments", { dataset });
  const found = usePages<ExperimentResponse>("experiments", { dataset });
  const [chosen, choose] = useState<readonly string[]>([]);
  // The older one is the baseline: the list has the newest first.
  const pair = found.rows.map((one) => one.id).filter((id) => chosen.includes(id));
  return (
    <div class="list-main scrolled">
      <header class="title">
        <h1>Experiments</h1>
        <Total of={found} what="experiment" />
        {dataset && (
          <span class="chip">
            dataset: {dataset}
            <Button class="quiet" icon="close" label="Drop the filter" onClick={() => update({ dataset: null }, { push: true })} />
          </span>
        )}
        <Button disabled={pair.length !== 2} title={pair.length === 2 ? "" : "Select two experiments"} onClick={() => navigate(experimentPath(pair[1]!, pair[0]))}>Compare the selected two</Button>
      </header>
      <Paged of={found} what="experiments" empty={
        <Empty title="No experiment yet">
          <p>Programs make experiments: run your agent over the items of a <Link href={projectPath("datasets")}>dataset</Link>, with POST /experiments or pytest-pandaprobe.</p>
        </Empty>
      }>
        {() => (
        <div class="scroll-x">
          <table class="plain-table">
            <Head of={["!Selected", "Experiment", "Dataset", "Items", "Metrics", "Release", "Started", "State"]} />
            <tbody>
              {found.rows.map((one) => (
                <tr key={one.id}>
                  <td><input type="checkbox" aria-label={`Select ${nameOf(one)}`} checked={chosen.includes(one.id)} onChange={() => choose(chosen.includes(one.id) ? chosen.filter((id) => id !== one.id) : [...chosen.slice(-1), one.id])} /></td>
                  <th scope="row"><Link href={experimentPath(one.id)}>{nameOf(one)}</Link></th>
                  <td>{one.dataset} <small>version {count(one.version_number)}{one.split ? `, ${one.split}` : ""}</small></td>
                  <td>{count(one.items)}{one.repetitions > 1 ? ` × ${one.repetitions}` : ""}</td>
                  <td>{one.metrics.join(", ") || NONE}</td>
                  <td>{one.release ?? NONE}{one.git.sha && <small> {one.git.sha.slice(0, 7)}</small>}</td>
                  <td><time title={fullInstant(one.created_at)}>{ago(one.created_at)}</time></td>
                  <td class="word">{one.closed_at ? "closed" : "open"}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <More of={found} />
        </div>
        )}
      </Paged>
    </div>
  );
}
