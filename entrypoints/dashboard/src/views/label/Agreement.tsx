/** How far a judge and people agree so far. Few labels say little, and the page says so. */
import type { JSX } from "preact";
import { useRead } from "../../api/queries.ts";
import type { AgreementFigure, AgreementItem } from "../../api/types.d.ts";
import { NONE, percent, plural } from "../../lib/format.ts";
import { Loading, Failed } from "../../ui/basics.tsx";

const CALIBRATED_FROM = 30;

export function Agreement({ name, threshold, fingerprint }: { name: string; threshold: number; fingerprint: string | null }): JSX.Element {
  const found = useRead<AgreementItem[]>("evaluations/analytics/agreement", { name, threshold });
  const judge = found.data?.find((one) => one.fingerprint === fingerprint) ?? found.data?.[0];
  return (
    <section class="agreement" aria-label="Agreement so far">
      <h2>Agreement so far</h2>
      <Failed of={found} />
      {found.isPending && <Loading what="the agreement" />}
      {found.data && !judge && <p class="none">{NONE} no label of this judge’s traces yet</p>}
      {judge && (
        <>
          <dl class="facts">
            <div>
              <dt>κ</dt>
              <dd>
                <Figure of={judge.kappa} />
              </dd>
            </div>
            <div>
              <dt>same verdict</dt>
              <dd>
                <Figure of={judge.agreement} />
              </dd>
            </div>
            <div>
              <dt>labels</dt>
              <dd>
                <strong>n = {judge.n}</strong>
                {!judge.calibrated && <span class="tag warn">not calibrated below {CALIBRATED_FROM}</span>}
              </dd>
            </div>
            <div>
              <dt>differ</dt>
              <dd>
                {plural(judge.confusion.only_judge_passes, "trace")} passed by the judge alone, {judge.confusion.only_people_pass} by people alone
              </dd>
            </div>
          </dl>
          <progress value={Math.min(judge.n, CALIBRATED_FROM)} max={CALIBRATED_FROM} aria-label={`${percent(Math.min(judge.n, CALIBRATED_FROM), CALIBRATED_FROM)} of the labels that a calibration needs`} />
          {judge.fingerprint && <small>judge {judge.fingerprint.slice(0, 12)}</small>}
        </>
      )}
    </section>
  );
}

function Figure({ of }: { of: AgreementFigure }): JSX.Element {
  if (of.value === null) return <span class="none" title={of.reason ?? ""}>{NONE} <small>{of.reason}</small></span>;
  const text = of.value.toFixed(2);
  if (of.low === null || of.high === null) return <span title={of.reason ?? ""}><strong>{text}</strong> <small>{of.reason}</small></span>;
  return (
    <span title="The 95 % confidence interval">
      <strong>{text}</strong> <small>{of.low.toFixed(2)} to {of.high.toFixed(2)}</small>
    </span>
  );
}
