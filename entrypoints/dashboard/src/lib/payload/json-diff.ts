/** The differences of two JSON texts by path. Values are compared as they were sent, digit by digit. */
import { childrenOf, nodeAt, rootOf, stringAt, type JsonChild, type JsonNode } from "./json-index.ts";

const CHANGES_MAX = 500;
const DEPTH_MAX = 60; // deeper values are compared as text

export interface JsonChange {
  path: string;
  left: string | null; // text of the value; null if it is absent
  right: string | null;
  isText: boolean; // both are strings, given without quotes and escapes
}

interface JsonChanges {
  changes: JsonChange[];
  isCut: boolean; // there are more
}

interface Place {
  left: JsonNode;
  right: JsonNode;
  path: string;
  depth: number;
}

/** Null if one of them is not JSON. */
export function jsonChanges(left: string, right: string, most = CHANGES_MAX): JsonChanges | null {
  try {
    return compare(left, right, most);
  } catch {
    return null;
  }
}

function compare(left: string, right: string, most: number): JsonChanges {
  const changes: JsonChange[] = [];
  const pending: (Place | JsonChange)[] = [{ left: rootOf(left), right: rootOf(right), path: "", depth: 0 }];
  while (pending.length > 0) {
    const next = pending.pop()!;
    if ("isText" in next) {
      if (changes.length === most) return { changes, isCut: true };
      changes.push(next);
      continue;
    }
    const [a, b] = [textOf(left, next.left), textOf(right, next.right)];
    if (a === b) continue;
    const isContainer = next.left.kind === "object" || next.left.kind === "array";
    if (next.left.kind !== next.right.kind || !isContainer || next.depth === DEPTH_MAX) {
      const isText = next.left.kind === "string" && next.right.kind === "string";
      const change = isText
        ? { left: stringAt(left, next.left), right: stringAt(right, next.right) }
        : { left: a, right: b };
      if (change.left !== change.right) pending.push({ path: next.path, isText, ...change });
      continue;
    }
    const children =
      next.left.kind === "object" ? members(left, right, next) : elements(left, right, next);
    for (const child of children.toReversed()) pending.push(child); // a spread of a long list is too much for the stack
  }
  return { changes, isCut: false };
}

function textOf(text: string, node: JsonNode): string {
  return text.slice(node.start, node.end);
}

function pathOf(path: string, key: string | number): string {
  if (typeof key === "number") return `${path}[${key}]`;
  if (!/^[\w$-]+$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === "" ? key : `${path}.${key}`;
}

function place(at: Place, a: JsonChild, b: JsonChild): Place {
  return { left: a, right: b, path: pathOf(at.path, a.key), depth: at.depth + 1 };
}

function absent(at: Place, text: string, child: JsonChild, isLeft: boolean): JsonChange {
  const value = textOf(text, child);
  return { path: pathOf(at.path, child.key), left: isLeft ? value : null, right: isLeft ? null : value, isText: false };
}

/** A key that is there twice is matched with the second one of the other side. */
function members(left: string, right: string, at: Place): (Place | JsonChange)[] {
  const others = new Map<string | number, JsonChild[]>();
  for (const child of childrenOf(right, at.right).children.toReversed()) {
    const list = others.get(child.key);
    if (list) list.push(child);
    else others.set(child.key, [child]);
  }
  const found: (Place | JsonChange)[] = [];
  for (const child of childrenOf(left, at.left).children) {
    const other = others.get(child.key)?.pop();
    found.push(other ? place(at, child, other) : absent(at, left, child, true));
  }
  for (const list of others.values()) {
    for (const child of list.reverse()) found.push(absent(at, right, child, false));
  }
  return found;
}

/** Elements that are equal at the start and at the end are matched, then those between by position. */
function elements(left: string, right: string, at: Place): (Place | JsonChange)[] {
  const a = childrenOf(left, at.left).children;
  const b = childrenOf(right, at.right).children;
  const isEqual = (x: number, y: number): boolean => textOf(left, a[x]!) === textOf(right, b[y]!);
  let start = 0;
  while (start < a.length && start < b.length && isEqual(start, start)) start++;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && isEqual(endA - 1, endB - 1)) [endA, endB] = [endA - 1, endB - 1];
  const found: (Place | JsonChange)[] = [];
  for (let index = start; index < Math.max(endA, endB); index++) {
    if (index < endA && index < endB) found.push(place(at, a[index]!, b[index]!));
    else if (index < endA) found.push(absent(at, left, a[index]!, true));
    else found.push(absent(at, right, b[index]!, false));
  }
  return found;
}

/** JSON with one member a line. Values are slices, so they stay as they were sent. */
export function indented(text: string): string {
  const found: string[] = [];
  let depth = 0;
  const line = (): string => `\n${"  ".repeat(Math.min(depth, DEPTH_MAX))}`;
  for (let at = 0; at < text.length; at++) {
    const sign = text[at]!;
    if (sign === '"') {
      const { end } = nodeAt(text, at);
      found.push(text.slice(at, end));
      at = end - 1;
    } else if (sign === "{" || sign === "[") {
      const rest = /^\s*[}\]]/.exec(text.slice(at + 1, at + 100));
      if (rest) {
        found.push(sign, rest[0].trim());
        at += rest[0].length;
        continue;
      }
      depth++;
      found.push(sign, line());
    } else if (sign === "}" || sign === "]") {
      depth--;
      found.push(line(), sign);
    } else if (sign === ",") found.push(sign, line());
    else if (sign === ":") found.push(": ");
    else if (!/\s/.test(sign)) found.push(sign);
  }
  return found.join("");
}
