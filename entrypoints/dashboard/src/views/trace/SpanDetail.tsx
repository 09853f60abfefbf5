/** What is known of one span: payloads, details, metadata, scores, and the answer itself. */
import { useQuery } from "@tanstack/preact-query";
import type { ComponentChildren, JSX } from "preact";
import { useMemo } from "preact/hooks";
import { requestText, type Query } from "../../api/client.ts";
import { projectId } from "../../api/session.ts";
import type { SpanDetailResponse } from "../../api/types.d.ts";
import { cost, count, duration, fullInstant, latencyHint, NONE, plural } from "../../lib/format.ts";
import { childOf, childrenOf, rootOf, type JsonNode } from "../../lib/payload/json-index.ts";
import { Button, Copy, copy, Kind, Loading, Status, Failed } from "../../ui/basics.tsx";
import { JsonView } from "../../ui/payload/JsonView.tsx";
import { LongText } from "../../ui/LongText.tsx";
import { Payload, type PayloadSource } from "../../ui/payload/Payload.tsx";
import { Scores } from "../../ui/Scores.tsx";
import type { UrlState } from "../../url/state.ts";
import { AddScore } from "../scores/AddScore.tsx";

export const TABS = ["io", "details", "metadata", "scores", "raw"] as const;
const TAB_LABELS: Record<string, string> = { io: "Input / Output", details: "Details", metadata: "Metadata", scores: "Scores", raw: "Raw" };

export function Tabs({ url, names }: { url: UrlState; names: readonly string[] }): JSX.Element {
  const chosen = names.includes(url.params.get("tab") ?? "") ? url.params.get("tab") : names[0];
  return (
    <div class="tabs" role="tablist" aria-label="Detail">
      {names.map((name, index) => (
        <button
          key={name}
          type="button"
          role="tab"
          id={`tab-${name}`}
          aria-selected={name === chosen}
          aria-controls="tab-panel"
          tabIndex={name === chosen ? 0 : -1}
          onClick={() => url.update({ tab: name === names[0] ? null : name })}
          onKeyDown={(event) => {
            const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
            if (step === 0) return;
            const next = names[(index + step + names.length) % names.length]!;
            url.update({ tab: next === names[0] ? null : next });
            document.getElementById(`tab-${next}`)?.focus();
          }}
        >
          {TAB_LABELS[name] ?? name}
        </button>
      ))}
    </div>
  );
}

interface ReadSpan {
  text: string;
  value: SpanDetailResponse;
  root: JsonNode;
}

/** A span as the API sends it, so that its numbers can be shown digit by digit. */
export function useSpanText(path: string, query: Query = { payloads: "preview" }) {
  const answer = useQuery<string>({
    queryKey: [projectId.value, path, "text"],
    queryFn: ({ signal }) => requestText(path, query, signal),
  });
  const text = answer.data;
  const read = useMemo<ReadSpan | null>(
    () => (text === undefined ? null : { text, value: JSON.parse(text) as SpanDetailResponse, root: rootOf(text) }),
    [text],
  );
  return { answer, read };
}

/** A payload of the span, which is here already unless it is long. */
export function sourceOf(path: string, { text, value, root }: ReadSpan, name: "input" | "output"): PayloadSource {
  const node = childOf(text, root, name);
  const isHere = value[`${name}_preview`] === null;
  return {
    label: name === "input" ? "Input" : "Output",
    path: `${path}/${name}`,
    text: isHere && node ? text.slice(node.start, node.end) : null,
    total: value[`${name}_bytes`],
  };
}

export interface SameName {
  position: number; // from 1
  of: number;
  previous: string | null;
  next: string | null;
}

interface SpanDetailProps {
  trace: string;
  span: string;
  before: string | null; // the model call that began before this one
  same: SameName; // spans of this name
  tokens: number; // of prompt and completion; 0 if it reported none
  url: UrlState;
}

export function SpanDetail({ trace, span, before, same, tokens, url }: SpanDetailProps): JSX.Element {
  const path = `traces/${trace}/spans/${span}`;
  const { answer, read } = useSpanText(path);
  if (answer.isError) return <Failed of={answer} />;
  if (read === null) return <Loading what="the span" />;
  const { value, text, root } = read;
  const payload = (name: "input" | "output"): PayloadSource => sourceOf(path, read, name);
  const chosen = url.params.get("tab") ?? "io";
  const tab = (TABS as readonly string[]).includes(chosen) ? chosen : "io";
  return (
    <div class="detail">
      <header>
        <h2>
          <Kind value={value.kind} /> {value.name}
          {same.of > 1 && (
            <span class="neighbours">
              <Button class="quiet" icon="left" label="Previous span of this name" disabled={same.previous === null} onClick={() => url.update({ span: same.previous })} />
              <small>{count(same.position)} of {count(same.of)}</small>
              <Button class="quiet" icon="right" label="Next span of this name" disabled={same.next === null} onClick={() => url.update({ span: same.next })} />
            </span>
          )}
        </h2>
        <p class="facts">
          <Status value={value.status} />
          <span>{duration(value.latency_ms)}</span>
          {value.model && <span>{value.model}</span>}
          {tokens > 0 && <span>{plural(tokens, "token")}</span>}
          <span title={`Cost: ${value.cost_source}`}>{value.cost_source === "unpriced" ? "" : cost(totalCost(value))}</span>
        </p>
      </header>
      {value.error !== null && (
        <div class="error-text" role="group" aria-label="Error">
          <strong>Error</strong> <Copy text={value.error} label="Copy the error" />
          <pre tabIndex={0}>
            <LongText text={value.error} />
          </pre>
        </div>
      )}
      <Tabs url={url} names={TABS} />
      <div role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
        {tab === "io" && (
          <div class="io">
            <Payload source={payload("input")} name={value.name} url={url} before={before && `traces/${trace}/spans/${before}`} />
            <Payload source={payload("output")} name={value.name} url={url} />
          </div>
        )}
        {tab === "details" && <Details value={value} text={text} root={root} />}
        {tab === "metadata" && <Metadata text={text} root={root} path={path} isCut={value.metadata_preview !== null} url={url} />}
        {tab === "scores" && (
          <>
            <AddScore trace={trace} span={span} />
            <Scores path={`evaluations/trace-scores/${trace}`} query={{ span_id: span }} />
          </>
        )}
        {tab === "raw" && <JsonView text={text} label="The span, as the API sends it" findable />}
      </div>
    </div>
  );
}

function totalCost(value: SpanDetailResponse): number | null {
  const parts = value.cost;
  if (parts === null) return null;
  return parts.total ?? parts.total_cost ?? Object.values(parts).reduce((sum, one) => sum + one, 0);
}

function Metadata(props: { text: string; root: JsonNode; path: string; isCut: boolean; url: UrlState }): JSX.Element {
  const node = childOf(props.text, props.root, "metadata");
  if (props.isCut || node === undefined) {
    const source = { label: "Metadata", path: `${props.path}/metadata`, text: null, total: null };
    return <Payload source={source} name="metadata" url={props.url} />;
  }
  return <JsonView text={props.text.slice(node.start, node.end)} label="Metadata" findable />;
}

export /** An instant in the shown zone, and in UTC: each in one line. */
function Instants({ at }: { at: string | null }): JSX.Element {
  return <>{fullInstant(at).split(" · ").map((one) => <div key={one} class="one-line">{one}</div>)}</>;
}

function Fact({ name, children }: { name: string; children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Details({ value, text, root }: { value: SpanDetailResponse; text: string; root: JsonNode }): JSX.Element {
  const members = (name: string): JSX.Element[] => {
    const node = childOf(text, root, name);
    if (node === undefined || node.kind !== "object") return [];
    return childrenOf(text, node).children.map((one) => (
      <Fact key={one.key} name={String(one.key)}>
        <code>{text.slice(one.start, one.end)}</code>
      </Fact>
    ));
  };
  const sections = [
    ["Tokens", members("token_usage")],
    ["Parameters", members("model_parameters")],
    [`Cost in USD (${value.cost_source})`, members("cost")],
  ] as const;
  return (
    <div class="details">
      <dl>
        <Fact name="Span">
          <code>{value.span_id}</code> <Copy text={value.span_id} label="Copy the id of the span" />
        </Fact>
        <Fact name="Parent">{value.parent_span_id ? <code>{value.parent_span_id}</code> : NONE}</Fact>
        <Fact name="Kind">{value.kind.toLowerCase()}</Fact>
        <Fact name="Model">{value.model ?? NONE}</Fact>
        <Fact name="Started"><Instants at={value.started_at} /></Fact>
        <Fact name="Ended"><Instants at={value.ended_at} /></Fact>
        <Fact name="Duration">
          {duration(value.latency_ms)} {latencyHint(value)}
        </Fact>
        <Fact name="First token after">{duration(value.time_to_first_token_ms)}</Fact>
      </dl>
      {sections.map(
        ([title, facts]) =>
          facts.length > 0 && (
            <section key={title}>
              <h3>{title}</h3>
              <dl>{facts}</dl>
            </section>
          ),
      )}
      <p>
        <Button class="link" onClick={() => void copy(text)}>
          Copy the span as JSON
        </Button>
      </p>
    </div>
  );
}
