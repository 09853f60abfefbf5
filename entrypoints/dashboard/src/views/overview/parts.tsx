/** Panels of the overview and of usage. */
import type { ComponentChildren, JSX } from "preact";
import { cost, costHint, NONE, pricedText, type Priced } from "../../lib/format.ts";
import { FailureBox, Loading } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import type { Period } from "../../ui/chart/Period.tsx";

interface Reading {
  isPending: boolean;
  isError: boolean;
  isPlaceholderData: boolean;
  error: unknown;
  refetch: () => unknown;
}

/** A part of a page with a heading of its own, which fails and loads by itself. */
export function Panel(props: { title: string; reads: readonly Reading[]; wide?: boolean; link?: JSX.Element | false | null; children: () => ComponentChildren }): JSX.Element {
  const { title, reads, link, children } = props;
  const failed = reads.find((one) => one.isError);
  const isOld = reads.some((one) => one.isPlaceholderData);
  return (
    <section class={`panel${props.wide ? " wide" : ""}`} aria-label={title} aria-busy={isOld}>
      <header>
        <h2>{title}</h2>
        {link}
      </header>
      {failed ? (
        <FailureBox error={failed.error} again={() => reads.forEach((one) => one.isError && void one.refetch())} />
      ) : reads.some((one) => one.isPending) ? (
        <Loading what={title.toLowerCase()} />
      ) : (
        children()
      )}
    </section>
  );
}

/** Leads to the traces that a figure is of. */
export function TracesLink({ period, where = {}, children }: { period: Period; where?: Record<string, string>; children: ComponentChildren }): JSX.Element {
  const query = new URLSearchParams({ started_after: new Date(period.from).toISOString(), started_before: new Date(period.to).toISOString(), ...where });
  return <Link href={`${projectPath("traces")}?${query.toString().replace(/%3A/g, ":")}`}>{children}</Link>;
}

export function Money({ usd, of, withShare }: { usd: number; of: Priced; withShare?: boolean }): JSX.Element {
  const text = cost(usd, of.unpriced_span_count);
  return (
    <span class="money" title={costHint(usd, of.unpriced_span_count)}>
      <span>{text}</span>
      {withShare && <small>{pricedText(of)}</small>}
      {!withShare && text === NONE && <span class="sr">{costHint(usd, of.unpriced_span_count)}</span>}
    </span>
  );
}

export function Tile({ label, value, children }: { label: string; value: ComponentChildren; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="tile">
      <dt>{label}</dt>
      <dd>
        <strong>{value}</strong>
        {children && <small>{children}</small>}
      </dd>
    </div>
  );
}
