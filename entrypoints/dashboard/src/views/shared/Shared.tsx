/** A trace by a public link: read without an account, and nothing else of its project. */
import { useInfiniteQuery } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Failure, request } from "../../api/client.ts";
import type { SharedTraceResponse } from "../../api/types.d.ts";
import { cost, costHint, count, duration, fullInstant, instant } from "../../lib/format.ts";
import { joinOutline } from "../../lib/outline.ts";
import { nextTheme, theme } from "../../lib/preferences.ts";
import { buildTree } from "../../lib/tree.ts";
import { Button, Empty, Guarded, Kind, Loading, Status, Toast, useTitle, Failed } from "../../ui/basics.tsx";
import { LongText, Reason } from "../../ui/LongText.tsx";
import { Payload } from "../../ui/payload/Payload.tsx";
import { Away } from "../../ui/Shell.tsx";
import { Splitter } from "../../ui/Splitter.tsx";
import { useUrlState, type UrlState } from "../../url/state.ts";
import { sourceOf, useSpanText } from "../trace/SpanDetail.tsx";
import { Spans } from "../trace/Trace.tsx";

const PART = 50_000; // spans

export function Shared({ token }: { token: string }): JSX.Element {
  const path = `shared/${encodeURIComponent(token)}`;
  const answer = useInfiniteQuery<SharedTraceResponse>({
    queryKey: [null, path],
    structuralSharing: false,
    initialPageParam: null as unknown,
    queryFn: ({ pageParam, signal }) => request("GET", path, { query: pageParam === null ? {} : { limit: PART, after: pageParam }, signal }),
    getNextPageParam: (last) => last.next,
  });
  const pages = answer.data?.pages;
  const outline = useMemo(() => (pages ? joinOutline(pages) : null), [pages]);
  const tree = useMemo(() => (outline ? buildTree(outline) : null), [outline]);
  useEffect(() => {
    if (answer.hasNextPage && !answer.isFetchingNextPage) void answer.fetchNextPage();
  }, [answer.hasNextPage, answer.isFetchingNextPage]);
  const url = useUrlState();
  const [share, setShare] = useState(55);
  const box = useRef<HTMLDivElement>(null);
  useTitle(outline?.trace.name ?? "Shared trace");
  const shown = pages?.[0];
  const span = url.params.get("span");
  const isDead = answer.error instanceof Failure && [404, 422].includes(answer.error.status);
  return (
    <div class="shared">
      <header>
        <span class="mark" aria-hidden="true" />
        <strong>Shared trace</strong>
        {shown && (
          <small>
            read-only until {fullInstant(shown.expires_at).slice(0, 10)}
            {shown.masked && " · without payloads, messages and tags"}
          </small>
        )}
        <Button class="quiet" icon="theme" label={`Theme: ${theme.value}`} onClick={nextTheme} />
      </header>
      <main>
        <Away />
        {isDead && (
          <Empty title="This link doesn’t work any more, or never did" isPage>
            <p>Ask the person who sent it for a new one.</p>
          </Empty>
        )}
        {answer.isError && !isDead && <Failed of={answer} />}
        {answer.isPending && <Loading what="the trace" />}
        {outline && tree && shown && (
          <div class="trace">
            <Facts outline={outline} shown={shown} />
            <div class="split" ref={box} style={{ "--left": `${share}%` } as JSX.CSSProperties}>
              <Guarded name="tree">
                <Spans id="" outline={outline} tree={tree} isPeek={false} url={url} hasChat={false} />
              </Guarded>
              <Splitter label="Width of the tree" value={share} change={setShare} box={() => box.current} />
              <section class="side" aria-label="Detail of the selection">
                <Guarded name={`detail ${span}`}>
                  {span !== null && outline.span_id.includes(span) ? (
                    <SharedSpan key={span} path={path} span={span} isMasked={shown.masked} url={url} />
                  ) : (
                    <Whole path={path} shown={shown} url={url} />
                  )}
                </Guarded>
              </section>
            </div>
          </div>
        )}
      </main>
      <Toast />
    </div>
  );
}

function Facts({ outline, shown }: { outline: ReturnType<typeof joinOutline>; shown: SharedTraceResponse }): JSX.Element {
  const { trace } = outline;
  const facts: [string, JSX.Element | string | null][] = [
    ["Started", <time key="t" dateTime={trace.started_at} title={fullInstant(trace.started_at)}>{instant(trace.started_at)}</time>],
    ["Latency", duration(trace.latency_ms)],
    ["Spans", count(outline.total)],
    ["Tokens", count(trace.total_tokens)],
    ["Cost", <span key="c" title={costHint(trace.total_cost, trace.unpriced_span_count)}>{cost(trace.total_cost, trace.unpriced_span_count)}</span>],
    ["Session", trace.session_id],
    ["Environment", trace.environment],
    ["Release", trace.release],
    ["Tags", trace.tags.length > 0 ? trace.tags.join(", ") : null],
    ...shown.scores.map((one): [string, JSX.Element] => [one.name, <span key={one.name}>{one.value}{one.reason && <>: <Reason text={one.reason} /></>}</span>]),
  ];
  return (
    <header class="trace-head">
      <div class="title"><h1>{trace.name}</h1><Status value={trace.status} /></div>
      <dl class="facts">
        {facts.map(([name, value]) => value !== null && <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
      </dl>
    </header>
  );
}

const LEFT_OUT = "This link leaves out inputs, outputs, metadata and messages.";

function Whole({ path, shown, url }: { path: string; shown: SharedTraceResponse; url: UrlState }): JSX.Element {
  const payload = (label: string, name: string): JSX.Element => (
    <Payload source={{ label, path: `${path}/payload?name=${name}`, text: null, total: null }} name={shown.trace.name} url={url} />
  );
  return (
    <div class="detail">
      <h2>The whole trace</h2>
      {shown.masked ? (
        <p class="hint">{LEFT_OUT}</p>
      ) : (
        <div class="io">
          {payload("Input", "input")}
          {payload("Output", "output")}
          {payload("Metadata", "metadata")}
        </div>
      )}
    </div>
  );
}

function SharedSpan({ path, span, isMasked, url }: { path: string; span: string; isMasked: boolean; url: UrlState }): JSX.Element {
  const { answer, read } = useSpanText(`${path}/spans/${span}`, {});
  if (answer.isError) return <Failed of={answer} />;
  if (read === null) return <Loading what="the span" />;
  const { value } = read;
  const source = (name: "input" | "output") => ({ ...sourceOf(path, read, name), path: `${path}/payload?name=${name}&span_id=${span}` });
  return (
    <div class="detail">
      <header>
        <h2><Kind value={value.kind} /> {value.name}</h2>
        <p class="facts">
          <Status value={value.status} />
          <span>{duration(value.latency_ms)}</span>
          {value.model && <span>{value.model}</span>}
        </p>
      </header>
      {value.error !== null && <div class="error-text" role="group" aria-label="Error"><pre tabIndex={0}><LongText text={value.error} /></pre></div>}
      {isMasked ? (
        <p class="hint">{LEFT_OUT}</p>
      ) : (
        <div class="io">
          <Payload source={source("input")} name={value.name} url={url} />
          <Payload source={source("output")} name={value.name} url={url} />
        </div>
      )}
    </div>
  );
}
