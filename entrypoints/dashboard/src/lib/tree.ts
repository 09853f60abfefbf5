/**
 * The tree of a trace in typed arrays: parents, subtree sizes and depths by row, where the rows are
 * in order of the tree. No function recurses, so that a chain of 100,000 spans is only another tree.
 */

/** Columns of the outline that the service sends; `parent` is an index, -1 none, -2 not received. */
export interface Outline {
  trace?: { status: string };
  span_id: readonly string[];
  parent: readonly number[];
  name: readonly number[];
  kind: readonly number[];
  status: readonly number[];
  start_us: readonly number[];
  latency_us: readonly (number | null)[];
}

const LOST_PARENT = -2;
const RUNNING_SHARE = 0.1; // of the known time, for what runs on
const SECOND = 1e6; // µs

export interface Tree {
  size: number;
  span: Int32Array; // of a row: the index of its span in the outline
  row: Int32Array; // of a span: its row
  parent: Int32Array; // of a row: the row of its parent, or -1
  depth: Int32Array;
  extent: Int32Array; // of a row: how many rows its subtree has, itself included
  position: Int32Array; // of a row: its place among its siblings, from 1
  siblings: Int32Array; // of a row: how many siblings there are, itself included
  isOrphan: Uint8Array; // the parent was never received, or is the span's own descendant
  start: Float64Array; // of a row, µs from the start of the trace
  end: Float64Array; // of a row; its start while it runs
  isOpen: Uint8Array; // it has not ended, and nor has the trace
  from: number; // the earliest start
  to: number; // the latest end; later where a span runs, so that its bar is in sight
}

export function buildTree(outline: Outline): Tree {
  const size = outline.span_id.length;
  const { first, next, roots, isOrphan } = link(outline);
  const tree: Tree = {
    size,
    span: new Int32Array(size),
    row: new Int32Array(size),
    parent: new Int32Array(size),
    depth: new Int32Array(size),
    extent: new Int32Array(size).fill(1),
    position: new Int32Array(size),
    siblings: new Int32Array(size),
    isOrphan: new Uint8Array(size),
    start: new Float64Array(size),
    end: new Float64Array(size),
    isOpen: new Uint8Array(size),
    from: Infinity,
    to: -Infinity,
  };
  order(tree, first, next, roots, isOrphan);
  for (let row = size - 1; row > 0; row--) {
    const parent = tree.parent[row]!;
    if (parent >= 0) tree.extent[parent]! += tree.extent[row]!;
  }
  time(tree, outline);
  return tree;
}

/** Children as linked lists, in the order in which the outline has them. */
function link(outline: Outline) {
  const size = outline.span_id.length;
  const first = new Int32Array(size).fill(-1);
  const next = new Int32Array(size).fill(-1);
  const isOrphan = new Uint8Array(size);
  const state = new Uint8Array(size); // 0 unseen, 1 on the way up, 2 leads to a root
  const roots: number[] = [];
  const parentOf = Int32Array.from(outline.parent);
  for (let span = 0; span < size; span++) {
    let at = span;
    while (at >= 0 && state[at] === 0) {
      state[at] = 1;
      at = parentOf[at]!;
    }
    if (at >= 0 && state[at] === 1) {
      parentOf[at] = LOST_PARENT; // a cycle: this span becomes a root
    }
    for (at = span; at >= 0 && state[at] === 1; at = outline.parent[at]!) state[at] = 2;
  }
  for (let span = size - 1; span >= 0; span--) {
    const parent = parentOf[span]!;
    if (parent < 0) {
      roots.push(span);
      isOrphan[span] = parent === LOST_PARENT ? 1 : 0;
    } else {
      next[span] = first[parent]!;
      first[parent] = span;
    }
  }
  return { first, next, roots: roots.reverse(), isOrphan };
}

function order(
  tree: Tree,
  first: Int32Array,
  next: Int32Array,
  roots: readonly number[],
  isOrphan: Uint8Array,
): void {
  let row = 0;
  const place = (span: number, parent: number, depth: number, position: number): number => {
    tree.span[row] = span;
    tree.row[span] = row;
    tree.parent[row] = parent;
    tree.depth[row] = depth;
    tree.position[row] = position;
    tree.isOrphan[row] = isOrphan[span]!;
    return row++;
  };
  const count = (span: number): number => {
    let found = 0;
    for (let child = first[span]!; child >= 0; child = next[child]!) found++;
    return found;
  };
  for (const [index, root] of roots.entries()) {
    let at = place(root, -1, 0, index + 1);
    tree.siblings[at] = roots.length;
    const pending: number[] = [first[root]!]; // the next child at each level
    const above: number[] = [at];
    const children: number[] = [count(root)];
    const placed: number[] = [0];
    while (pending.length > 0) {
      const level = pending.length - 1;
      const span = pending[level]!;
      if (span < 0) {
        pending.pop();
        above.pop();
        children.pop();
        placed.pop();
        continue;
      }
      pending[level] = next[span]!;
      placed[level]! += 1;
      at = place(span, above[level]!, level + 1, placed[level]!);
      tree.siblings[at] = children[level]!;
      if (first[span]! >= 0) {
        pending.push(first[span]!);
        above.push(at);
        children.push(count(span));
        placed.push(0);
      }
    }
  }
}

function time(tree: Tree, outline: Outline): void {
  const isOver = /COMPLETED|ERROR/.test(outline.trace?.status ?? "");
  for (let row = 0; row < tree.size; row++) {
    const span = tree.span[row]!;
    const start = outline.start_us[span]!;
    const latency = outline.latency_us[span] ?? null;
    tree.start[row] = start;
    tree.isOpen[row] = latency === null && !isOver ? 1 : 0;
    tree.end[row] = start + (latency ?? 0);
    tree.from = Math.min(tree.from, start);
    tree.to = Math.max(tree.to, tree.end[row]!);
  }
  if (tree.size === 0) [tree.from, tree.to] = [0, 0];
  if (tree.isOpen.includes(1)) tree.to += (tree.to - tree.from) * RUNNING_SHARE || SECOND;
}

/** The rows that are shown: those below a collapsed one are skipped. */
export function visibleRows(
  tree: Pick<Tree, "size" | "extent">,
  collapsed: ReadonlySet<number>,
  kept: Uint8Array | null = null,
): Int32Array {
  const rows = new Int32Array(tree.size);
  let found = 0;
  for (let row = 0; row < tree.size; row++) {
    if (kept !== null && kept[row] === 0) continue;
    rows[found++] = row;
    if (kept === null && collapsed.has(row)) row += tree.extent[row]! - 1;
  }
  return rows.subarray(0, found);
}

/** Marks the rows that match, and their ancestors. */
export function keepMatches(tree: Pick<Tree, "size" | "parent">, matches: (row: number) => boolean): Uint8Array {
  const kept = new Uint8Array(tree.size);
  for (let row = tree.size - 1; row >= 0; row--) {
    if (kept[row] === 0 && !matches(row)) continue;
    kept[row] = kept[row] === 0 ? 2 : kept[row]!; // 2: matches, 1: an ancestor of a match
    const parent = tree.parent[row]!;
    if (parent >= 0 && kept[parent] === 0) kept[parent] = matches(parent) ? 2 : 1;
  }
  return kept;
}

/** Time of each row in which none of its children ran, in µs. */
export function selfTimes(tree: Tree): Float64Array {
  const result = new Float64Array(tree.size);
  const order = Int32Array.from({ length: tree.size }, (_, row) => row).sort(
    (a, b) => tree.start[a]! - tree.start[b]!,
  );
  const until = Float64Array.from(tree.start); // of a row: up to here its children are counted
  for (let row = 0; row < tree.size; row++) result[row] = tree.end[row]! - tree.start[row]!;
  for (const row of order) {
    const parent = tree.parent[row]!;
    if (parent < 0) continue;
    const from = Math.max(tree.start[row]!, until[parent]!);
    const to = Math.min(tree.end[row]!, tree.end[parent]!);
    if (to <= from) continue;
    result[parent]! -= to - from;
    until[parent] = to;
  }
  return result;
}

/**
 * Rows on the critical path: the spans that the end of the trace waited for. From the end of a span
 * backwards, the child that ended last is waited for, then the one that ended before that began.
 */
export function criticalPath(tree: Tree): Set<number> {
  const found = new Set<number>();
  let latest = -1;
  for (let row = 0; row < tree.size; row += tree.extent[row]!) {
    if (latest < 0 || tree.end[row]! > tree.end[latest]!) latest = row;
  }
  const pending = latest < 0 ? [] : [{ row: latest, until: tree.end[latest]! }];
  while (pending.length > 0) {
    const { row, until } = pending.pop()!;
    found.add(row);
    const children: number[] = [];
    const end = row + tree.extent[row]!;
    for (let child = row + 1; child < end; child += tree.extent[child]!) children.push(child);
    children.sort((a, b) => tree.end[b]! - tree.end[a]!);
    let left = until;
    for (const child of children) {
      if (tree.end[child]! > left || tree.start[child]! < tree.start[row]!) continue;
      pending.push({ row: child, until: tree.end[child]! });
      left = tree.start[child]!;
    }
  }
  return found;
}
