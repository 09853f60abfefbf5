/** What judges cost in the organization, against its budget and that of the project. */
import type { JSX } from "preact";
import { useRead } from "../../api/queries.ts";
import { project, session } from "../../api/session.ts";
import type { BudgetResponse, JudgeUsagePart, LimitsResponse, OrganizationUsageResponse, SpendingBy } from "../../api/types.d.ts";
import { cost, count, percent, plural } from "../../lib/format.ts";
import type { Period } from "../../ui/chart/Period.tsx";
import { Head } from "../../ui/Head.tsx";
import type { UrlState } from "../../url/state.ts";
import { Panel } from "../overview/parts.tsx";import { Select } from "../../ui/basics.tsx";


const BY: readonly SpendingBy[] = ["project", "model", "metric", "day"];

const TITLE = "What judges cost";

export function Judges(props: { url: UrlState; period: Period }): JSX.Element {
  const now = session.value;
  if (now.state === "in" && now.isPerson) return <OfOrganization {...props} />;
  return (
    <Panel title={TITLE} wide reads={[]}>
      {() => <p class="hint">You are signed in with an API key: the costs and budgets of the organization need a person.</p>}
    </Panel>
  );
}

function OfOrganization({ url, period }: { url: UrlState; period: Period }): JSX.Element {
  const chosen = url.params.get("judges_by") as SpendingBy;
  const by = BY.includes(chosen) ? chosen : "project";
  const here = project.value!;
  const path = `organizations/${here.organizationId}`;
  const usage = useRead<OrganizationUsageResponse>(
    `${path}/usage`,
    { date_from: new Date(period.from).toISOString(), date_to: new Date(period.to).toISOString(), by },
    { keepPrevious: true },
  );
  const limits = useRead<LimitsResponse>(`${path}/limits`);
  const budget = useRead<BudgetResponse>(`${path}/projects/${here.id}/budget`);
  return (
    <Panel
      title={TITLE}
      wide
      reads={[usage, limits, budget]}
      link={
        <Select aria-label="Judges by" value={by} choose={(value) => url.update({ judges_by: value }, { push: true })} options={BY.map((one) => [one, `by ${one}`])} />
      }
    >
      {() => (
        <>
          <div class="trends">
            <Budget name={`Project ${here.name}`} of={budget.data!} />
            <Budget name={`Organization ${here.organization}`} of={limits.data!} />
          </div>
          <Parts usage={usage.data!} by={by} />
        </>
      )}
    </Panel>
  );
}

function Budget({ name, of }: { name: string; of: BudgetResponse | LimitsResponse }): JSX.Element {
  const { monthly_usd: most, spent_usd: spent, unpriced_calls: unpriced } = of;
  const share = most ? Math.min(1, spent / most) : 0;
  return (
    <div class="trend">
      <strong>{name}</strong>
      <span>
        {cost(spent, unpriced)} in {of.month}
      </span>
      {most !== null && (
        <div class={`share${share >= 0.9 ? " tone-bad" : ""}`} aria-hidden="true"><i style={{ width: `${share * 100}%` }} /></div>
      )}
      <small>
        {most === null ? "no budget" : most === 0 ? "budget $0.00: no judge is called" : `${percent(spent, most)} of the budget of ${cost(most)}`}
        {unpriced > 0 && ` · ${plural(unpriced, "call")} without a price`}
      </small>
    </div>
  );
}

function nameOf(part: JudgeUsagePart, by: SpendingBy): string {
  const now = session.value;
  if (by !== "project" || now.state !== "in") return part.key || "none";
  return now.projects.find((one) => one.id === part.key)?.name ?? part.key;
}

function Parts({ usage, by }: { usage: OrganizationUsageResponse; by: SpendingBy }): JSX.Element {
  if (usage.parts.length === 0) return <p class="none">No judge was called in this period. The heuristic judge costs nothing.</p>;
  const rows = [...usage.parts.map((one) => ({ name: nameOf(one, by), of: one })), ...(usage.parts.length > 1 ? [{ name: "All", of: usage.total }] : [])];
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`Costs of judges by ${by}`}>
      <table class="plain-table">
        <Head of={[by[0]!.toUpperCase() + by.slice(1), "Calls", "Failed", "Input", "Output", "Cost"]} />
        <tbody>
          {rows.map(({ name, of }) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{count(of.calls)}</td>
              <td>{count(of.failed_calls)}</td>
              <td>{count(of.input_tokens)}</td>
              <td>{count(of.output_tokens)}</td>
              <td>
                {cost(of.cost_usd, of.unpriced_calls)}
                {of.unpriced_calls > 0 && <small> {plural(of.unpriced_calls, "call")} unpriced</small>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
