/** JSON as a tree of which only open parts are read. Every value is a slice of the text as sent. */
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { childrenFrom, findAll, pathTo, rootOf, stringAt, type JsonChild, type JsonNode } from "../../lib/payload/json-index.ts";
import { innerJson } from "../../lib/payload/chat.ts";
import { bytes, count } from "../../lib/format.ts";
import { pause } from "../../lib/payload/json-scan.ts";
import { Button, Copy, Loading } from "../basics.tsx";
import { LongText } from "../LongText.tsx";
import { useScanned } from "./useScanned.ts";

const SHOWN_CHILDREN = 100;
const DRAWN_AT_ONCE = 20; // children; the others of a long list follow, a part at a time
const FIND_MAX = 1000;
const DATA_URI = /^data:([\w.+-]+\/[\w.+-]+)?(;[\w=.-]+)*,/;
const OPEN_DEPTH = 20; // levels that are open at the start: each takes part of the stack
const OPEN_AT_ROOT = 8; // children of the payload that are open, whatever their length
const OPEN_BY_ITSELF = 40; // children of a container that are open, if they are short
const OPEN_LENGTH = 500;

interface Target {
  path: readonly { key: string | number; index: number }[];
  offset: number;
}

interface JsonViewProps {
  text: string;
  label: string;
  node?: JsonNode;
  findable?: boolean;
}

export function JsonView(props: JsonViewProps): JSX.Element {
  const isReady = useScanned(props.text);
  return isReady ? <Tree {...props} /> : <Loading what={props.label} />;
}

function Tree(props: JsonViewProps): JSX.Element {
  const { text, label, node, findable = false } = props;
  const root = useMemo(() => {
    try {
      return { node: node ?? rootOf(text), error: null };
    } catch (error) {
      return { node: null, error };
    }
  }, [text, node]);
  const [wanted, setWanted] = useState("");
  const [match, setMatch] = useState(0);
  const places = useMemo(() => (findable ? findAll(text, wanted.trim(), FIND_MAX) : []), [text, wanted]);
  const box = useRef<HTMLDivElement>(null);
  const target = useMemo<Target | null>(() => {
    const offset = places[match];
    if (offset === undefined || root.node === null) return null;
    return { path: pathTo(text, root.node, offset), offset };
  }, [places, match]);
  useEffect(() => {
    if (target) setTimeout(() => box.current?.querySelector(".found")?.scrollIntoView({ block: "center" }));
  }, [target]);
  if (root.node === null) return <NoJson error={root.error} text={text} />;
  const step = (by: number): void => setMatch((places.length + match + by) % Math.max(1, places.length));
  return (
    <div class="json" ref={box} aria-label={label} role="group">
      {findable && (
        <div class="json-find">
          <input
            type="search"
            aria-label={`Find in ${label}`}
            placeholder="Find"
            value={wanted}
            onInput={(event) => {
              setWanted(event.currentTarget.value);
              setMatch(0);
            }}
            onKeyDown={(event) => {
              if (event.key !== "Enter") return;
              event.preventDefault();
              step(event.shiftKey ? -1 : 1);
            }}
          />
          {wanted.trim() !== "" && (
            <span role="status">
              {places.length === 0 ? "nothing" : `${match + 1} of ${count(places.length)}${places.length === FIND_MAX ? " or more" : ""}`}
            </span>
          )}
        </div>
      )}
      <Value text={text} node={root.node} depth={0} isOpen target={target} />
    </div>
  );
}

/** What a model wrote as JSON may be cut, or the literal of another language. */
function NoJson({ error, text }: { error: unknown; text: string }): JSX.Element {
  return (
    <>
      <p class="hint">This is not valid JSON ({(error as Error).message}), so it is shown as text.</p>
      <LongText text={text} />
    </>
  );
}

/** The first levels of a small payload are open, but no more rows than a page draws at once. */
function isOpenAtStart(depth: number, siblings: number, length: number): boolean {
  if (depth === 0 && siblings <= OPEN_AT_ROOT) return true;
  return depth < OPEN_DEPTH && siblings <= OPEN_BY_ITSELF && length < OPEN_LENGTH;
}

interface ValueProps {
  text: string;
  node: JsonNode;
  depth: number;
  isOpen: boolean;
  target: Target | null;
  name?: string | number;
}

function Value(props: ValueProps): JSX.Element {
  const { text, node, depth, name, target } = props;
  const isFound = target !== null && target.path.length === 0;
  const label = name === undefined ? null : <Key name={name} />;
  if (node.kind === "object" || node.kind === "array") return <Container {...props} />;
  return (
    <div class={`json-row ${isFound ? "found" : ""}`} style={{ paddingLeft: `${depth * 14}px` }}>
      {label}
      {node.kind === "string" ? (
        <StringValue text={text} node={node} />
      ) : (
        <span class={`j-${node.kind}`}>{text.slice(node.start, node.end)}</span>
      )}
    </div>
  );
}

function Key({ name }: { name: string | number }): JSX.Element {
  return <span class="j-key">{typeof name === "number" ? name : name === "" ? '""' : name}: </span>;
}

function Container({ text, node, depth, isOpen, target, name }: ValueProps): JSX.Element {
  const [open, setOpen] = useState(isOpen);
  const [{ from, limit }, setShown] = useState({ from: 0, limit: SHOWN_CHILDREN });
  const [drawn, draw] = useState(DRAWN_AT_ONCE);
  const wanted = target?.path[0]?.index;
  const isFound = target !== null && target.path.length === 0;
  useEffect(() => {
    if (wanted === undefined) return;
    setOpen(true);
    const isInSight = wanted >= from && wanted < from + limit;
    if (!isInSight) setShown({ from: wanted - (wanted % SHOWN_CHILDREN), limit: SHOWN_CHILDREN });
  }, [target]);
  const shown = useMemo<{ children: JsonChild[]; next: number | null; error?: unknown }>(() => {
    try {
      if (open) return childrenFrom(text, node, from, limit);
    } catch (error) {
      return { children: [], next: null, error };
    }
    return { children: [], next: null };
  }, [open, text, node.start, node.end, from, limit]);
  const isDrawn = drawn >= shown.children.length || (wanted !== undefined && wanted >= from + drawn);
  useEffect(() => {
    if (!isDrawn) void pause().then(() => draw(drawn + DRAWN_AT_ONCE));
  }, [isDrawn, drawn]);
  const [left, right] = node.kind === "object" ? ["{", "}"] : ["[", "]"];
  const isEmpty = /^.\s*.$/s.test(text.slice(node.start, Math.min(node.end, node.start + 200)));
  const raw = (): string => text.slice(node.start, node.end);
  return (
    <div class={`json-node ${isFound ? "found" : ""}`}>
      <div class="json-row" style={{ paddingLeft: `${depth * 14}px` }}>
        <button type="button" class="json-toggle" aria-expanded={open} disabled={isEmpty} onClick={() => setOpen(!open)}>
          <span aria-hidden="true">{isEmpty ? " " : open ? "▾" : "▸"}</span>
          {name === undefined ? null : <Key name={name} />}
          <span class="j-mark">{left}</span>
          {!open && !isEmpty && <span class="j-more"> … {bytes(node.end - node.start)} </span>}
          {(!open || isEmpty) && <span class="j-mark">{right}</span>}
        </button>
        {!isEmpty && <Copy text={raw} label="Copy this value" />}
      </div>
      {shown.error && <NoJson error={shown.error} text={raw()} />}
      {open && from > 0 && (
        <Button class="link" onClick={() => setShown({ from: from - SHOWN_CHILDREN, limit: limit + SHOWN_CHILDREN })}>
          Show the {SHOWN_CHILDREN} before, of {count(from)}
        </Button>
      )}
      {open &&
        (isDrawn ? shown.children : shown.children.slice(0, drawn)).map((child, index) => (
          <Value
            key={typeof child.key === "number" ? child.key : `${from + index}:${child.key}`}
            text={text}
            node={child}
            name={child.key}
            depth={depth + 1}
            isOpen={isOpenAtStart(depth, shown.children.length, child.end - child.start)}
            target={target !== null && wanted === from + index ? { ...target, path: target.path.slice(1) } : null}
          />
        ))}
      {open && isDrawn && shown.next !== null && (
        <Button class="link" onClick={() => setShown({ from, limit: limit + SHOWN_CHILDREN })}>
          Show the next {SHOWN_CHILDREN} after {count(from + shown.children.length)}
        </Button>
      )}
      {open && !isEmpty && (
        <div class="json-row j-mark" style={{ paddingLeft: `${depth * 14 + 14}px` }} aria-hidden="true">
          {right}
        </div>
      )}
    </div>
  );
}

function StringValue({ text, node }: { text: string; node: JsonNode }): JSX.Element {
  const value = useMemo(() => stringAt(text, node), [text, node.start, node.end]);
  const [isJson, showJson] = useState(false);
  const media = value.length > 100 ? DATA_URI.exec(value) : null;
  const inner = useMemo(() => (value.length > 2 ? innerJson(value) : null), [value]);
  if (media) return <Media uri={value} type={media[1] ?? "text/plain"} />;
  return (
    <span class="j-string">
      {isJson && inner !== null ? <JsonView text={inner} label="JSON in a string" /> : <LongText text={value} quoted />}
      {inner !== null && (
        <Button class="link" onClick={() => showJson(!isJson)}>
          {isJson ? "as text" : "as JSON"}
        </Button>
      )}
    </span>
  );
}

/** An image is drawn when it is asked for, and only from the payload itself. */
export function Media({ uri, type }: { uri: string; type: string }): JSX.Element {
  const [open, setOpen] = useState(false);
  const isImage = /^image\/(png|jpeg|gif|webp|avif)$/.test(type);
  return (
    <span class="media">
      <span class="tag">
        {type} · {bytes(uri.length)}
      </span>
      {isImage && (
        <Button class="link" onClick={() => setOpen(!open)}>
          {open ? "Hide" : "Show the image"}
        </Button>
      )}
      <Copy text={uri} label="Copy the data" />
      {open && <img src={uri} alt="from the payload" />}
    </span>
  );
}
