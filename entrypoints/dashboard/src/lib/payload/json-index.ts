/**
 * JSON by offsets into its text: the children of one container are found by one scan when it is
 * opened. Nothing is parsed but strings that are shown, so numbers stay as they were sent.
 */
import { MARK, scannedOf } from "./json-scan.ts";

type JsonKind = "object" | "array" | "string" | "number" | "literal";

export interface JsonNode {
  kind: JsonKind;
  start: number;
  end: number;
}

export interface JsonChild extends JsonNode {
  key: string | number;
}

export class NotJson extends Error {
  readonly at: number;

  constructor(at: number) {
    super(`No JSON at character ${at}`);
    this.at = at;
  }
}

const QUOTE = 34;
const BACKSLASH = 92;
const COMMA = 44;
const COLON = 58;
const OPEN_ARRAY = 91;
const CLOSE_ARRAY = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

function skipSpace(text: string, at: number): number {
  for (;;) {
    const code = text.charCodeAt(at);
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return at;
    at++;
  }
}

/** The place behind the string that begins at `at`. */
function skipString(text: string, at: number): number {
  let quote = at;
  for (;;) {
    quote = text.indexOf('"', quote + 1);
    if (quote < 0) throw new NotJson(at);
    let slashes = 0;
    while (text.charCodeAt(quote - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return quote + 1;
  }
}

const SCALAR_END = /[\s,\]}:[{"]/g;

function skipScalar(text: string, at: number): number {
  SCALAR_END.lastIndex = at;
  const found = SCALAR_END.exec(text);
  const end = found ? found.index : text.length;
  if (end === at) throw new NotJson(at);
  return end;
}

function skipContainer(text: string, at: number): number {
  const known = scannedOf(text)?.ends.get(at);
  if (known !== undefined) return known;
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) i = skipString(text, i) - 1;
    else if (code === OPEN_ARRAY || code === OPEN_OBJECT) depth++;
    else if ((code === CLOSE_ARRAY || code === CLOSE_OBJECT) && --depth === 0) return i + 1;
  }
  throw new NotJson(text.length);
}

export function nodeAt(text: string, from: number): JsonNode {
  const start = skipSpace(text, from);
  const code = text.charCodeAt(start);
  if (code === QUOTE) return { kind: "string", start, end: skipString(text, start) };
  if (code === OPEN_OBJECT) return { kind: "object", start, end: skipContainer(text, start) };
  if (code === OPEN_ARRAY) return { kind: "array", start, end: skipContainer(text, start) };
  const end = skipScalar(text, start);
  const word = text.slice(start, end);
  if (word === "true" || word === "false" || word === "null") return { kind: "literal", start, end };
  if (!/^-?[0-9][0-9.eE+-]*$/.test(word)) throw new NotJson(start);
  return { kind: "number", start, end };
}

/** The one value of the text. Throws NotJson if there is none, or something behind it. */
export function rootOf(text: string): JsonNode {
  const root = nodeAt(text, 0);
  const rest = skipSpace(text, root.end);
  if (rest < text.length) throw new NotJson(rest);
  return root;
}

/** The children of an object or array, at most `limit` of them, and whether there are more. */
export function childrenOf(
  text: string,
  node: JsonNode,
  limit = Infinity,
  after = node.start + 1,
  index = 0,
): { children: JsonChild[]; next: number | null } {
  const isObject = node.kind === "object";
  const close = isObject ? CLOSE_OBJECT : CLOSE_ARRAY;
  const children: JsonChild[] = [];
  let at = skipSpace(text, after);
  while (text.charCodeAt(at) !== close) {
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1);
    if (children.length >= limit) return { children, next: at };
    let key: string | number = index + children.length;
    if (isObject) {
      if (text.charCodeAt(at) !== QUOTE) throw new NotJson(at);
      const end = skipString(text, at);
      key = stringAt(text, { start: at, end });
      at = skipSpace(text, end);
      if (text.charCodeAt(at) !== COLON) throw new NotJson(at);
      at++;
    }
    const child = nodeAt(text, at);
    children.push({ key, kind: child.kind, start: child.start, end: child.end }); // a spread takes longer
    at = skipSpace(text, child.end);
    const code = text.charCodeAt(at);
    if (code !== COMMA && code !== close) throw new NotJson(at);
  }
  return { children, next: null };
}

export interface Place {
  after: number; // an offset before the child
  index: number; // of the child
}

/** The place of a child of a container, or of a child before it at a mark of the scan. */
function placeOf(text: string, node: JsonNode, index: number): Place {
  const marks = scannedOf(text)?.marks.get(node.start) ?? [];
  const mark = Math.min(Math.floor(index / MARK), marks.length);
  return mark === 0 ? { after: node.start + 1, index: 0 } : { after: marks[mark - 1]!, index: mark * MARK };
}

/** The children from this one on. */
export function childrenFrom(text: string, node: JsonNode, index: number, limit: number): { children: JsonChild[]; next: number | null } {
  const near = placeOf(text, node, index);
  const before = childrenOf(text, node, index - near.index, near.after, near.index);
  if (before.next === null) return { children: [], next: null };
  return childrenOf(text, node, limit, before.next, index);
}

/** A string without its quotes and escapes; as it was sent if an escape is invalid. */
export function stringAt(text: string, node: { start: number; end: number }): string {
  const raw = text.slice(node.start + 1, node.end - 1);
  if (!raw.includes("\\")) return raw; // also with characters that a parser would refuse
  try {
    return JSON.parse(text.slice(node.start, node.end)) as string;
  } catch {
    return raw;
  }
}

/** The child with this key; the last one, as a parser would take it. */
export function childOf(text: string, node: JsonNode | undefined, key: string | number): JsonNode | undefined {
  if (node === undefined || (node.kind !== "object" && node.kind !== "array")) return undefined;
  return childrenOf(text, node).children.findLast((one) => one.key === key);
}

/** In lower case, of the same length: that of İ alone would be longer. */
export function lowered(text: string): string {
  return text.replaceAll("İ", "i").toLowerCase();
}

/** The places of a text within the JSON text, by their offsets. */
export function findAll(text: string, wanted: string, limit: number): number[] {
  const found: number[] = [];
  if (wanted === "") return found;
  const [hay, needle] = [lowered(text), lowered(wanted)];
  for (let at = hay.indexOf(needle); at >= 0 && found.length < limit; at = hay.indexOf(needle, at + 1)) {
    found.push(at);
  }
  return found;
}

/** The way to an offset: the key of each child, and which one it is in its container. */
export function pathTo(text: string, root: JsonNode, offset: number): { key: string | number; index: number }[] {
  const path: { key: string | number; index: number }[] = [];
  let node: JsonNode = root;
  while (node.kind === "object" || node.kind === "array") {
    const found = childAt(text, node, offset);
    if (found === undefined) return path;
    path.push({ key: found.child.key, index: found.index });
    if (offset < found.child.start) return path; // within its key
    node = found.child;
  }
  return path;
}

/** The first child that ends behind an offset. */
function childAt(text: string, node: JsonNode, offset: number): { child: JsonChild; index: number } | undefined {
  const marks = scannedOf(text)?.marks.get(node.start) ?? [];
  const mark = marks.findLastIndex((at) => at <= offset) + 1;
  let index = mark * MARK;
  let after: number | null = mark === 0 ? node.start + 1 : marks[mark - 1]!;
  while (after !== null) {
    const { children, next }: { children: JsonChild[]; next: number | null } = childrenOf(text, node, MARK, after, index);
    const at = children.findIndex((child) => child.end > offset);
    if (at >= 0) return { child: children[at]!, index: index + at };
    [after, index] = [next, index + children.length];
  }
  return undefined;
}
