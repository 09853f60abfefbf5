/** A payload as a chat: who said what, calls with their results. */
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { looksLikeMarkdown, standsForResult, type Part, type Turn } from "../../lib/payload/chat.ts";
import { bytes, plural } from "../../lib/format.ts";
import { childOf, stringAt } from "../../lib/payload/json-index.ts";
import { Button } from "../basics.tsx";
import { JsonView, Media } from "./JsonView.tsx";
import { LongText } from "../LongText.tsx";
import { LazyMarkdown } from "./Payload.tsx";

const SHOWN_TURNS = 6; // of a long conversation, from its end
const SYSTEM_LINES = 12;

interface ChatProps {
  turns: readonly Turn[];
  text: string;
  shared?: number; // turns at the start that the call before had already
}

export function Chat({ turns, text, shared = 0 }: ChatProps): JSX.Element {
  const [all, showAll] = useState(false);
  const isRepeated = shared > 1 && shared < turns.length;
  const isLong = turns.length > SHOWN_TURNS + 2;
  const hidden = all ? 0 : isRepeated ? shared : isLong ? turns.length - SHOWN_TURNS : 0;
  return (
    <div class="chat">
      {hidden > 0 && (
        <Button class="link" onClick={() => showAll(true)}>
          Show {plural(hidden, "earlier message")}
          {isRepeated && ", same as in the call before"}
        </Button>
      )}
      {turns.slice(hidden).map((turn, index) => !standsForResult(turns, hidden + index) && <TurnView key={hidden + index} turn={turn} text={text} />)}
    </div>
  );
}

export function TurnView(props: { turn: Turn; text: string; isTop?: boolean }): JSX.Element {
  const { turn, text, isTop } = props;
  const Heading = isTop ? "h3" : "h4";
  return (
    <article class={`turn r-${turn.role}`}>
      <Heading>
        {turn.role}
        {turn.name && <small> {turn.name}</small>}
      </Heading>
      {turn.parts.map((part, index) => (
        <PartView key={index} part={part} text={text} isSystem={turn.role === "system"} />
      ))}
      {turn.parts.length === 0 && <p class="none">nothing</p>}
    </article>
  );
}

function PartView({ part, text, isSystem }: { part: Part; text: string; isSystem: boolean }): JSX.Element {
  switch (part.type) {
    case "text":
      return <Prose text={part.text} fold={isSystem} />;
    case "thinking":
      return (
        <details class="thinking">
          <summary>thinking</summary>
          <LongText text={part.text} />
        </details>
      );
    case "call":
      return (
        <div class="call">
          <p>
            <span class="kind k-TOOL" aria-hidden="true">T</span> calls <strong>{part.name}</strong>
            {part.id && <small> {part.id}</small>}
          </p>
          {part.node ? (
            <JsonView text={text} node={part.node} label={`arguments of ${part.name}`} />
          ) : (
            part.text !== null && <Arguments text={part.text} name={part.name} />
          )}
        </div>
      );
    case "result":
      return (
        <div class="result">
          <p>
            result {part.name && <strong>of {part.name}</strong>}
            {part.id && <small> {part.id}</small>}
          </p>
          {part.parts.map((one, index) => (
            <PartView key={index} part={one} text={text} isSystem={false} />
          ))}
        </div>
      );
    case "media":
      return <MediaPart part={part} text={text} />;
    case "json":
      return (
        <div>
          {part.label && <small>{part.label}</small>}
          <JsonView text={text} node={part.node} label={part.label ?? "a part"} />
        </div>
      );
  }
}

function Arguments({ text, name }: { text: string; name: string }): JSX.Element {
  return /^\s*[{[]/.test(text) ? <JsonView text={text} label={`arguments of ${name}`} /> : <LongText text={text} />;
}

/** Line breaks are kept; markdown is drawn where there is some, and one press shows it verbatim. */
function Prose({ text, fold }: { text: string; fold: boolean }): JSX.Element {
  const isMarkdown = useMemo(() => looksLikeMarkdown(text), [text]);
  const [verbatim, setVerbatim] = useState(false);
  const lines = useMemo(() => text.split("\n"), [text]);
  const [open, setOpen] = useState(!fold || lines.length <= SYSTEM_LINES);
  const shown = open ? text : lines.slice(0, SYSTEM_LINES).join("\n");
  return (
    <div class="prose">
      {isMarkdown && !verbatim ? <LazyMarkdown text={shown} /> : <div class="plain"><LongText text={shown} /></div>}
      {!open && (
        <Button class="link" onClick={() => setOpen(true)}>
          Show all {plural(lines.length, "line")}
        </Button>
      )}
      {isMarkdown && (
        <Button class="link verbatim" onClick={() => setVerbatim(!verbatim)}>
          {verbatim ? "as markdown" : "verbatim"}
        </Button>
      )}
    </div>
  );
}

/** The data of an image is where each provider puts it; without any, its kind and size, or the JSON. */
function MediaPart({ part, text }: { part: Extract<Part, { type: "media" }>; text: string }): JSX.Element {
  const source = childOf(text, part.node, "source") ?? part.node;
  const string = (node: ReturnType<typeof childOf>): string | null =>
    node?.kind === "string" ? stringAt(text, node) : null;
  const member = (...keys: string[]): string | null =>
    keys.map((key) => string(childOf(text, source, key))).find((one) => one !== null) ?? null;
  const image = childOf(text, part.node, "image_url");
  const uri = string(image) ?? string(childOf(text, image, "url"));
  const data = member("data");
  const type = member("media_type", "mime_type", "mimeType");
  const found = uri?.startsWith("data:") ? uri : data !== null && type !== null ? `data:${type};base64,${data}` : null;
  if (found !== null) return <Media uri={found} type={/^data:([\w/+.-]+)/.exec(found)?.[1] ?? "data"} />;
  const size = childOf(text, part.node, "size");
  const about = [type, size ? bytes(Number(text.slice(size.start, size.end))) : null, member("uri", "fileUri", "file_uri")];
  const known = about.filter((one) => one !== null);
  if (part.label !== "media" || data !== null || known.length === 0) {
    return <JsonView text={text} node={part.node} label={part.label} />;
  }
  return (
    <span class="media">
      <span class="tag">{known.join(" · ")}</span>
    </span>
  );
}
