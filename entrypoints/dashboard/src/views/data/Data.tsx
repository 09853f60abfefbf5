/** What is kept of a project: retention, exports, imports, erasures, prices. */
import type { ComponentType, JSX } from "preact";
import { useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { project, session } from "../../api/session.ts";
import type { ErasureCheckResponse, ErasureResponse, ModelPriceResponse, ProjectDetailResponse } from "../../api/types.d.ts";
import { ago, count, fullInstant, NONE, plural, tracesText } from "../../lib/format.ts";
import { announce, Button, Empty, Guarded, Loading, useTitle, Failed, Form, valueTo } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Confirm } from "../../ui/Confirm.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { Rows, SubPages } from "../../ui/SubPages.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { useUrlState } from "../../url/state.ts";
import { CheckResult, ReceiptFacts } from "../users/Erase.tsx";
import { ExportForm, ExportList } from "./Exports.tsx";
import { Imports } from "./Imports.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const DAY_MS = 86_400_000;
const PAGES: readonly (readonly [string, string, ComponentType])[] = [
  ["retention", "Retention", Retention],
  ["exports", "Exports", Exports],
  ["imports", "Imports", Imports],
  ["erasures", "Erasures", Erasures],
  ["prices", "Prices", Prices],
];

export function Data(): JSX.Element {
  const url = useUrlState();
  const [name, text, View] = PAGES.find(([one]) => one === url.params.get("tab")) ?? PAGES[0]!;
  useTitle(text, "Data", project.value?.name);
  return (
    <div class="page admin">
      <h1>Data</h1>
      <SubPages label="Data" at={name} pages={PAGES.map(([tab, label]) => ({ name: tab, text: label, href: `${projectPath("data")}?tab=${tab}` }))} />
      <Guarded name={name}>
        <View />
      </Guarded>
    </div>
  );
}

function Retention(): JSX.Element {
  const here = project.value;
  const now = session.value;
  const path = `organizations/${here?.organizationId}/projects/${here?.id}`;
  const isPerson = now.state === "in" && now.isPerson;
  const answer = useRead<ProjectDetailResponse>(path, {}, { enabled: isPerson });
  useCurl("Data", "the retention", isPerson ? path : null);
  if (!isPerson) return <p class="hint">You are signed in with an API key: retention needs a person.</p>;
  if (answer.isError) return <Failed of={answer} />;
  if (answer.data === undefined) return <Loading what="the retention" />;
  return <RetentionForm key={answer.data.retention_days} path={path} days={answer.data.retention_days} canChange={here?.canManage ?? false} />;
}

function RetentionForm({ path, days, canChange }: { path: string; days: number | null; canChange: boolean }): JSX.Element {
  const [text, setText] = useState(days === null ? "" : String(days));
  const [isAsking, ask] = useState(false);
  const sending = useSending(["days"]);
  const wanted = text === "" ? null : Number(text);
  const before = wanted === null || !(wanted >= 1) ? null : new Date(Math.floor(Date.now() / 60_000) * 60_000 - wanted * DAY_MS).toISOString();
  const older = useRead<{ total: number; total_is_at_least?: boolean }>("traces", { limit: 1, started_before: before }, { enabled: before !== null, keepPrevious: true });
  const hit = before === null ? 0 : older.data?.total;
  const isShorter = wanted !== null && (days === null || wanted < days);
  const put = async (): Promise<void> => {
    await request("PUT", `${path}/retention`, { body: { days: wanted } });
    await invalidate(path);
  };
  const kept = wanted === null ? "Traces are kept for ever" : `Traces are kept for ${plural(wanted, "day")}`;
  return (
    <Form class="narrow" send={() => {
        if (isShorter) ask(true);
        else void sending.send(() => put().then(() => announce(kept)));
      }}>
      <Field label="Delete traces after days" hint="Since they were first stored; empty: never" problem={sending.problemOf("days")}>
        {(own) => <input {...own} type="number" min="1" max="3650" step="1" disabled={!canChange} value={text} onInput={valueTo(setText)} />}
      </Field>
      <p role="status">
        {before === null
          ? "Nothing is removed."
          : `${tracesText(hit ?? 0, older.data?.total_is_at_least)} started before ${fullInstant(before).slice(0, 16)}: they are removed within minutes, unless they were stored later than that.`}
      </p>
      <p class="actions">
        <Button type="submit" class="main" disabled={!canChange || wanted === days || sending.isBusy}>
          Save
        </Button>
        {!canChange && <span class="hint">Only owners and administrators change the retention.</span>}
      </p>
      <Failed of={sending} />
      {isAsking && (
        <Confirm
          title={kept}
          text={`About ${tracesText(hit ?? 0, older.data?.total_is_at_least)} with their spans and scores are deleted now, and others when their time comes. This can’t be undone.`}
          act="Delete older traces"
          done={kept}
          run={put}
          close={() => ask(false)}
        />
      )}
    </Form>
  );
}

function Exports(): JSX.Element {
  const url = useUrlState();
  useCurl("Data", "the exports", "traces/exports");
  return (
    <>
      <p class="hint">
        An export has all traces that match the filters of the <Link href={projectPath("traces")}>list of traces</Link>: select them there, then <em>Export …</em>
      </p>
      <ExportForm url={url} total={null} isAtLeast={false} />
      <ExportList level="h2" />
    </>
  );
}

interface Page {
  items: ErasureResponse[];
  total: number;
}

function Erasures(): JSX.Element {
  const answer = useRead<Page>("erasures", { limit: 50 });
  useCurl("Data", "the receipts", "erasures");
  if (answer.isError) return <Failed of={answer} />;
  if (answer.data === undefined) return <Loading what="receipts" />;
  const { items, total } = answer.data;
  return (
    <>
      <p class="hint">
        A user is erased in the list of <Link href={projectPath("users")}>users</Link>. A receipt has a salted hash in the place of the id.
      </p>
      {items.length === 0 && <Empty title="No erasure yet" />}
      {items.map((one) => (
        <details key={one.id}>
          <summary>{one.kind}, {ago(one.requested_at)}, {one.state.toLowerCase()}</summary>
          <ReceiptFacts receipt={one} />
          <Check receipt={one} />
        </details>
      ))}
      {total > items.length && <p class="hint">The newest {items.length} of {count(total)}.</p>}
    </>
  );
}

/** The receipt can be checked with the id of the erased user. */
function Check({ receipt }: { receipt: ErasureResponse }): JSX.Element {
  const [text, setText] = useState("");
  const [found, setFound] = useState<ErasureCheckResponse | null>(null);
  const sending = useSending(["user_id", "session_id"]);
  const field = receipt.kind === "user" ? "user_id" : "session_id";
  const check = async (): Promise<void> => {
    setFound(null);
    setFound(await request<ErasureCheckResponse>("POST", `erasures/${receipt.id}/check`, { body: { [field]: text } }));
  };
  return (
    <Form class="fields" send={() => sending.send(check)}>
      <Field label={`Id of the ${receipt.kind}`} problem={sending.problemOf(field)}>
        {(own) => <input {...own} required autocomplete="off" value={text} onInput={valueTo(setText)} />}
      </Field>
      <Button type="submit" disabled={sending.isBusy}>Check</Button>
      {found !== null && <CheckResult found={found} />}
      <Failed of={sending} />
    </Form>
  );
}

function Prices(): JSX.Element {
  const answer = useRead<ModelPriceResponse[]>("model-prices");
  useCurl("Data", "the prices", "model-prices");
  const day = (at: string | null): string => (at === null ? NONE : fullInstant(at).slice(0, 10));
  return (
    <>
      <p class="hint">Prices of this project go before those of the operator and of the price table. <Link href={projectPath("usage")}>Usage</Link> shows which models have none.</p>
      <Rows
        label="Prices of this project"
        answer={answer}
        rows={answer.data}
        keyOf={(one) => one.id}
        empty="This project has no prices of its own"
        cells={[
          ["Models", (one) => <code>{one.match}</code>],
          ["Input", (one) => `$${one.input}`],
          ["Output", (one) => `$${one.output}`],
          ["Cache read", (one) => (one.cache_read === null ? NONE : `$${one.cache_read}`)],
          ["From", (one) => day(one.effective_from)],
          ["Until", (one) => day(one.effective_to)],
        ]}
      />
    </>
  );
}
