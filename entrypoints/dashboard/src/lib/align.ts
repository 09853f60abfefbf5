/**
 * The spans of two traces side by side, top down: children of a pair are matched by a longest common
 * subsequence of kind and name, then what is left over by name, out of order. The result depends on
 * the two traces alone, and is the mirrored one if they change places.
 */
import type { Tree } from "./tree.ts";

const STEPS_MAX = 5_000_000; // of all subsequences of one comparison
const RUN_MIN = 51; // so many equal names in a row are matched by position
const NONE = -1;

/** What of a trace is compared: its tree, and the word of a row that a partner must have too. */
export interface Side {
  tree: Tree;
  word: (row: number) => string;
}

/** Rows of both sides in the order of the tree; -1 where a side has none. */
export interface Alignment {
  size: number;
  left: Int32Array;
  right: Int32Array;
  parent: Int32Array; // -1 at the top
  depth: Int32Array;
  extent: Int32Array; // how many rows the subtree has, itself included
  isMoved: Uint8Array; // its partner is at another place among its siblings
  isBounded: boolean; // some children were matched by position, since there were too many
}

type Pair = readonly [left: number, right: number, isMoved: boolean];

export function align(left: Side, right: Side, stepsMax = STEPS_MAX): Alignment {
  const capacity = left.tree.size + right.tree.size;
  const result: Alignment = {
    size: 0,
    left: new Int32Array(capacity),
    right: new Int32Array(capacity),
    parent: new Int32Array(capacity).fill(NONE),
    depth: new Int32Array(capacity),
    extent: new Int32Array(capacity).fill(1),
    isMoved: new Uint8Array(capacity),
    isBounded: false,
  };
  const budget = { steps: stepsMax };
  const emit = (a: number, b: number, depth: number, isMoved: boolean): void => {
    const at = result.size++;
    [result.left[at], result.right[at], result.depth[at]] = [a, b, depth];
    result.isMoved[at] = isMoved ? 1 : 0;
  };
  const alone = (side: Side, row: number, depth: number, isLeft: boolean): void => {
    const base = side.tree.depth[row]!;
    for (let at = row; at < row + side.tree.extent[row]!; at++) {
      emit(isLeft ? at : NONE, isLeft ? NONE : at, depth + side.tree.depth[at]! - base, false);
    }
  };
  const matched = (a: number, b: number): Pair[] => {
    const found = match(childRows(left.tree, a), childRows(right.tree, b), left, right, budget);
    result.isBounded ||= found.isBounded;
    return found.pairs;
  };
  const pending = [{ pairs: matched(NONE, NONE), at: 0 }];
  while (pending.length > 0) {
    const level = pending.at(-1)!;
    const pair = level.pairs[level.at++];
    if (pair === undefined) {
      pending.pop();
      continue;
    }
    const [a, b, isMoved] = pair;
    const depth = pending.length - 1;
    if (a === NONE) alone(right, b, depth, false);
    else if (b === NONE) alone(left, a, depth, true);
    else {
      emit(a, b, depth, isMoved);
      if (left.tree.extent[a]! > 1 || right.tree.extent[b]! > 1) pending.push({ pairs: matched(a, b), at: 0 });
    }
  }
  measure(result);
  return result;
}

function measure(result: Alignment): void {
  const above: number[] = [];
  for (let at = 0; at <= result.size; at++) {
    const depth = at < result.size ? result.depth[at]! : 0;
    while (above.length > depth) {
      const row = above.pop()!;
      result.extent[row] = at - row;
    }
    if (at < result.size) result.parent[at] = above.at(-1) ?? NONE;
    above.push(at);
  }
}

function childRows(tree: Tree, row: number): number[] {
  const found: number[] = [];
  const end = row < 0 ? tree.size : row + tree.extent[row]!;
  for (let at = row < 0 ? 0 : row + 1; at < end; at += tree.extent[at]!) found.push(at);
  return found;
}

interface Token {
  word: string; // of a run with a mark, so that runs are matched with runs
  rows: number[];
}

/** Long runs of equal words become one token. */
function tokens(rows: readonly number[], word: (row: number) => string): Token[] {
  const found: Token[] = [];
  for (let from = 0; from < rows.length; ) {
    const name = word(rows[from]!);
    let to = from + 1;
    while (to < rows.length && word(rows[to]!) === name) to++;
    if (to - from >= RUN_MIN) found.push({ word: `run:${name}`, rows: rows.slice(from, to) });
    else for (let at = from; at < to; at++) found.push({ word: `one:${name}`, rows: [rows[at]!] });
    from = to;
  }
  return found;
}

function match(a: readonly number[], b: readonly number[], left: Side, right: Side, budget: { steps: number }) {
  const [one, other] = [tokens(a, left.word), tokens(b, right.word)];
  const partner = new Map<number, number>();
  let start = 0;
  while (start < one.length && start < other.length && one[start]!.word === other[start]!.word) start++;
  let [endA, endB] = [one.length, other.length];
  while (endA > start && endB > start && one[endA - 1]!.word === other[endB - 1]!.word) [endA, endB] = [endA - 1, endB - 1];
  const join = (x: Token, y: Token): void => {
    for (let at = 0; at < Math.min(x.rows.length, y.rows.length); at++) partner.set(x.rows[at]!, y.rows[at]!);
  };
  for (let at = 0; at < start; at++) join(one[at]!, other[at]!);
  for (let at = endA; at < one.length; at++) join(one[at]!, other[at - endA + endB]!);
  const steps = (endA - start) * (endB - start);
  const isBounded = steps > budget.steps;
  if (steps > 0 && !isBounded) {
    budget.steps -= steps;
    const [middleA, middleB] = [one.slice(start, endA), other.slice(start, endB)];
    for (const [x, y] of commonTokens(middleA, middleB)) join(middleA[x]!, middleB[y]!);
  }
  return { pairs: ordered(a, b, partner, left, right), isBounded };
}

/** Indexes of a longest common subsequence. Among equally long ones the choice ignores the sides. */
function commonTokens(a: readonly Token[], b: readonly Token[]): [number, number][] {
  if (isAfter(a, b)) return commonTokens(b, a).map(([x, y]) => [y, x]);
  const width = b.length + 1;
  const length = new Int32Array((a.length + 1) * width);
  for (let x = a.length - 1; x >= 0; x--) {
    for (let y = b.length - 1; y >= 0; y--) {
      length[x * width + y] =
        a[x]!.word === b[y]!.word
          ? length[(x + 1) * width + y + 1]! + 1
          : Math.max(length[(x + 1) * width + y]!, length[x * width + y + 1]!);
    }
  }
  const found: [number, number][] = [];
  for (let [x, y] = [0, 0]; x < a.length && y < b.length; ) {
    if (a[x]!.word === b[y]!.word) found.push([x++, y++]);
    else if (length[(x + 1) * width + y]! >= length[x * width + y + 1]!) x++;
    else y++;
  }
  return found;
}

function isAfter(a: readonly Token[], b: readonly Token[]): boolean {
  if (a.length !== b.length) return a.length > b.length;
  const at = a.findIndex((token, index) => token.word !== b[index]!.word);
  return at >= 0 && a[at]!.word > b[at]!.word;
}

/** Pairs in the order of the left side; what only the right has follows what is before it there. */
function ordered(a: readonly number[], b: readonly number[], partner: Map<number, number>, left: Side, right: Side): Pair[] {
  const taken = new Set(partner.values());
  const free = new Map<string, number[]>(); // of the right side, by word, the last one first
  for (const row of b.toReversed()) {
    if (taken.has(row)) continue;
    const word = right.word(row);
    const list = free.get(word);
    if (list) list.push(row);
    else free.set(word, [row]);
  }
  const moved = new Map<number, number>();
  for (const row of a) {
    const other = partner.has(row) ? undefined : free.get(left.word(row))?.pop();
    if (other !== undefined) moved.set(row, other);
  }
  const gone = new Set(moved.values());
  const pairs: Pair[] = [];
  let next = 0;
  const onlyRight = (until: number): void => {
    for (; next < until; next++) {
      const row = b[next]!;
      if (!taken.has(row) && !gone.has(row)) pairs.push([NONE, row, false]);
    }
  };
  const place = new Map(b.map((row, index) => [row, index]));
  for (const row of a) {
    const other = partner.get(row);
    if (other !== undefined) {
      onlyRight(place.get(other)!);
      pairs.push([row, other, false]);
    } else if (moved.has(row)) pairs.push([row, moved.get(row)!, true]);
    else pairs.push([row, NONE, false]);
  }
  onlyRight(b.length);
  return pairs;
}
