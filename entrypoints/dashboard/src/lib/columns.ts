/** The order of the columns of a list. */

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
