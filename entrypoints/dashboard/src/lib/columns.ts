/** The order and the widths of the columns of a list. */

/** The names with one of them a place further. */
export function moved(names: readonly string[], name: string, by: 1 | -1): string[] {
  const next = [...names];
  const at = next.indexOf(name);
  const to = at + by;
  if (at < 0 || to < 0 || to >= next.length) return next;
  [next[at], next[to]] = [next[to]!, next[at]!];
  return next;
}

/** In the chosen order; a column that it doesn't name follows the one that it follows by itself. */
export function inOrder<T extends { id: string }>(all: readonly T[], order: readonly string[]): T[] {
  const byId = new Map(all.map((one) => [one.id, one]));
  const found = order.flatMap((id) => byId.get(id) ?? []);
  all.forEach((one, index) => {
    if (order.includes(one.id)) return;
    const before = index === 0 ? -1 : found.indexOf(all[index - 1]!);
    found.splice(before + 1, 0, one);
  });
  return found;
}

export type Widths = Readonly<Record<string, number>>; // in pixels, by the column

const STEP = 40;
const WIDTH_MIN = 60;
const WIDTH_MAX = 900;

/** With one column wider or narrower by a step than it is shown. */
export function resized(widths: Widths, name: string, shown: number, by: 1 | -1): Widths {
  return { ...widths, [name]: Math.max(WIDTH_MIN, Math.min(WIDTH_MAX, Math.round(shown) + by * STEP)) };
}

export function widthsText(widths: Widths): string {
  return Object.entries(widths).map(([name, width]) => `${name}:${width}`).join(",");
}

/** What `widthsText` wrote; anything else is left out. */
export function widthsOf(text: string): Widths {
  const found = [...text.matchAll(/([a-z_]+):(\d+)(?:,|$)/g)].map(([, name, width]) => [name!, Number(width)] as const);
  return Object.fromEntries(found.filter(([, width]) => width >= WIDTH_MIN && width <= WIDTH_MAX));
}
