/** The model calls of a trace, in their order, as a conversation. */
import type { JSX } from "preact";
import { useMemo, useRef } from "preact/hooks";
import { duration, plural } from "../../lib/format.ts";
import type { TraceOutline } from "../../lib/outline.ts";
import type { Tree } from "../../lib/tree.ts";
import { Empty, Loading, Failed } from "../../ui/basics.tsx";
import { Payload } from "../../ui/payload/Payload.tsx";
import { useVirtual } from "../../ui/table/useVirtual.ts";
import type { UrlState } from "../../url/state.ts";
import { sourceOf, useSpanText } from "./SpanDetail.tsx";

interface TraceChatProps {
  id: string;
  outline: TraceOutline;
  tree: Tree;
  matches: Uint8Array | null;
  selected: number;
  select: (row: number) => void;
  url: UrlState;
}

export function TraceChat(props: TraceChatProps): JSX.Element {
  const { outline, tree, matches } = props;
  const calls = useMemo(() => {
    const llm = outline.kinds.indexOf("LLM");
    return outline.kind.flatMap((kind, span) => (kind === llm && (matches === null || matches[tree.row[span]!] === 2) ? [span] : []));
  }, [outline, tree, matches]);
  if (calls.length === 0) return <Empty title={matches === null ? "This trace has no model call" : "No model call matches"} />;
  return <Calls {...props} calls={calls} />;
}

function Calls({ id, outline, tree, selected, select, url, calls }: TraceChatProps & { calls: number[] }): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const keys = useMemo(() => calls.map((span) => outline.span_id[span]!), [calls, outline]);
  const virtual = useVirtual(box, keys, 320, 1);
  return (
    <div class="turns calls" ref={box} tabIndex={0} role="feed" aria-label="Model calls" aria-busy={false}>
      <div style={{ height: `${virtual.height}px`, position: "relative" }}>
        {virtual.items.map((item) => {
          const span = calls[item.index];
          if (span === undefined) return null;
          const row = tree.row[span]!;
          const model = outline.model[span];
          const latency = outline.latency_us[span];
          return (
            <article
              key={item.key}
              data-key={item.key}
              ref={virtual.measure}
              class={`session-turn ${row === selected ? "at" : ""}`}
              aria-posinset={item.index + 1}
              aria-setsize={calls.length}
              style={{ transform: `translateY(${item.start}px)` }}
            >
              <header>
                <h2>
                  <button type="button" class="link" onClick={() => select(row)}>
                    {outline.names[outline.name[span]!]}
                  </button>
                </h2>
                {model != null && <span>{outline.models[model]}</span>}
                <span>{duration(latency == null ? null : latency / 1000)}</span>
                {outline.tokens[span]! > 0 && <span>{plural(outline.tokens[span]!, "token")}</span>}
                {outline.has_error[span] && <span class="bad-text">✕ failed</span>}
              </header>
              <Call place={`call ${item.index + 1}`} trace={id} span={outline.span_id[span]!} name={outline.names[outline.name[span]!] ?? ""} before={item.index > 0 ? outline.span_id[calls[item.index - 1]!]! : null} url={url} />
            </article>
          );
        })}
      </div>
    </div>
  );
}

function Call(props: { trace: string; span: string; name: string; before: string | null; place: string; url: UrlState }): JSX.Element {
  const { trace, span, name, before, place, url } = props;
  const path = `traces/${trace}/spans/${span}`;
  const { answer, read } = useSpanText(path);
  if (answer.isError) return <Failed of={answer} />;
  if (read === null) return <Loading what="the call" />;
  return (
    <>
      <Payload source={sourceOf(path, read, "input")} name={name} url={url} place={place} before={before && `traces/${trace}/spans/${before}`} />
      <Payload source={sourceOf(path, read, "output")} name={name} url={url} place={place} />
    </>
  );
}
