/** An input or output, drawn as chat, text, markdown or JSON; raw is what was stored, byte by byte. */
import { useQuery } from "@tanstack/preact-query";
import type { ComponentType, JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { awaySince, readText, request, requestText, type PayloadPart } from "../../api/client.ts";
import { useReturn } from "../../api/queries.ts";
import { projectId } from "../../api/session.ts";
import { chatOf, looksLikeMarkdown, MARKDOWN_CHARS_MAX, sharedStart, textOf, type Turn } from "../../lib/payload/chat.ts";
import { bytes } from "../../lib/format.ts";
import { childOf, rootOf } from "../../lib/payload/json-index.ts";
import { chooseRendering, chosenRendering } from "../../lib/preferences.ts";
import type { UrlState } from "../../url/state.ts";
import { Button, Copy, FailureBox, Loading } from "../basics.tsx";
import { Chat } from "./Chat.tsx";
import { JsonView } from "./JsonView.tsx";
import { Modes } from "../Modes.tsx";
import { LongText } from "../LongText.tsx";
import { useScanned } from "./useScanned.ts";

const RENDERINGS = ["chat", "text", "markdown", "json", "raw"] as const;
type Rendering = (typeof RENDERINGS)[number];
const FIRST_BYTES = 1_000_000; // more is read on asking
const LABELS: Record<Rendering, string> = { chat: "Chat", text: "Text", markdown: "Markdown", json: "JSON", raw: "Raw" };

export interface PayloadSource {
  label: string;
  path: string; // of the bytes
  text: string | null; // if it is here already
  total: number | null;
  version?: string; // it is read again if that changes
}

/** What a payload can be drawn as, and what is best. */
function renderingsOf(text: string): { turns: Turn[] | null; plain: string | null; best: Rendering } {
  const turns = chatOf(text);
  const plain = textOf(text);
  const best = turns ? "chat" : plain === null ? "json" : looksLikeMarkdown(plain) ? "markdown" : "text";
  return { turns, plain, best };
}

interface PayloadProps {
  source: PayloadSource;
  name: string; // of the span, for which the choice of a rendering is kept
  url: UrlState;
  before?: string | null; // the span of the call before, whose messages are folded
  place?: string; // tells it from others on the same page
}

export function Payload({ source, name, url, before = null, place }: PayloadProps): JSX.Element {
  const [part, setPart] = useState<PayloadPart | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [limit, setLimit] = useState(FIRST_BYTES);
  const [attempt, setAttempt] = useState(0);
  const again = (): void => {
    setError(null);
    setAttempt((n) => n + 1);
  };
  useReturn(() => error !== null && again());
  useEffect(() => {
    setPart(null);
    setError(null);
    setLimit(FIRST_BYTES);
  }, [source.path]);
  useEffect(() => {
    if (source.text !== null) return;
    const stop = new AbortController();
    readText(source.path, { maxBytes: limit, signal: stop.signal }).then((read) => {
      setPart(read);
      setError(null);
    }, (reason: unknown) => {
      if (!stop.signal.aborted) setError(reason);
    });
    return () => stop.abort();
  }, [source.path, source.text, source.total, source.version, limit, attempt]);
  const read = source.text ?? part?.text ?? null;
  const text = useScanned(read) ? read : null;
  const isWhole = source.text !== null || (part?.isWhole ?? false);
  const total = source.text !== null ? (source.total ?? source.text.length) : (part?.total ?? source.total);
  return (
    <section class="payload" aria-label={place === undefined ? source.label : `${source.label}, ${place}`}>
      {error !== null && <FailureBox error={error} again={again} />}
      {error === null && text === null && <Loading what={source.label.toLowerCase()} />}
      {text === "null" || text === "" ? (
        <header>
          <h3>{source.label}</h3>
          <span class="none">none</span>
        </header>
      ) : (
        text !== null && (
          <Drawn label={source.label} text={text} name={name} url={url} total={total} isWhole={isWhole} before={before} all={() => setLimit(total ?? FIRST_BYTES)} />
        )
      )}
    </section>
  );
}

interface DrawnProps {
  label: string;
  text: string;
  name: string;
  url: UrlState;
  total: number | null;
  isWhole: boolean;
  before: string | null;
  all: () => void;
}

/** How many turns at the start the call before had already. */
function useShared(turns: readonly Turn[] | null, before: string | null): number {
  const isWanted = before !== null && turns !== null && turns.length > 2;
  const answer = useQuery<string>({
    queryKey: [projectId.value, before, "text"],
    queryFn: ({ signal }) => requestText(before ?? "", { payloads: "preview" }, signal),
    enabled: isWanted,
  });
  return useMemo(() => {
    if (!isWanted || answer.data === undefined) return 0;
    const node = childOf(answer.data, rootOf(answer.data), "input");
    const earlier = node ? chatOf(answer.data.slice(node.start, node.end)) : null;
    return earlier === null ? 0 : sharedStart(earlier, turns);
  }, [answer.data, turns]);
}

function Drawn({ label, text, name, url, total, isWhole, before, all }: DrawnProps): JSX.Element {
  const { turns, plain, best } = useMemo(() => renderingsOf(text), [text]);
  const shared = useShared(turns, before);
  const possible = RENDERINGS.filter(
    (one) => one === "raw" || (one === "json" ? isWhole : one === "chat" ? turns !== null : plain !== null && (one === "text" || plain.length <= MARKDOWN_CHARS_MAX)),
  );
  const wanted = url.params.get("as") ?? chosenRendering(name);
  const shown = possible.find((one) => one === wanted) ?? (possible.includes(best) ? best : "raw");
  return (
    <>
      <header>
        <h3>{label}</h3>
        <small>{bytes(total)}</small>
        <Modes
          label={`Show ${label.toLowerCase()} as`}
          of={possible}
          at={shown}
          text={(one) => LABELS[one]}
          choose={(one) => {
            chooseRendering(name, one);
            url.update({ as: one });
          }}
        />
        <Copy text={text} label={`Copy ${label.toLowerCase()}`} />
      </header>
      {!isWhole && (
        <p class="hint">
          The first {bytes(text.length)} of {bytes(total)}. <Button class="link" onClick={all}>Load all</Button>
        </p>
      )}
      {shown === "chat" && turns && <Chat turns={turns} text={text} shared={shared} />}
      {shown === "text" && plain !== null && <div class="plain"><LongText text={plain} /></div>}
      {shown === "markdown" && plain !== null && <LazyMarkdown text={plain} />}
      {shown === "json" && <JsonView text={text} label={label} findable />}
      {shown === "raw" && (
        <pre class="raw" role="group" tabIndex={0} aria-label={`${label}, as stored`}>
          <LongText text={text} />
        </pre>
      )}
    </>
  );
}

let loaded: ComponentType<{ text: string }> | null = null;

/** The parser is loaded with the first text that is shown as markdown; until then it is text. */
export function LazyMarkdown({ text }: { text: string }): JSX.Element {
  const [, again] = useState(0);
  const isAway = awaySince.value !== null;
  useEffect(() => {
    if (loaded !== null || isAway) return;
    import("./Markdown.tsx").then(
      ({ Markdown }) => {
        loaded = Markdown;
        again((n) => n + 1);
      },
      () => request("GET", "health").catch(() => {}), // finds out whether the service is away
    );
  }, [isAway]);
  const View = loaded;
  return View === null ? <div class="plain">{text}</div> : <View text={text} />;
}
