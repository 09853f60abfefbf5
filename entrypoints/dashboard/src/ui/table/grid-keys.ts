/** Keys of a grid whose rows are a tree: of a trace, and of two traces side by side. */
import type { Command } from "../../lib/keys.ts";
import { ROW } from "./useRowWindow.ts";

/** For the help: the grid itself acts on these. */
export function gridHelp(group: string, hasSubtrees = false): Command[] {
  const lines = [
    ["↑, ↓", "Previous, next row"],
    ["←, →", "Fold and unfold, else to the parent or the first child"],
    ...(hasSubtrees ? [["Shift+←, →", "Fold and unfold all below"]] : []),
    ["Home, End", "First, last row"],
  ];
  return lines.map(([keys = "", label = ""]) => ({ keys, label, group, hidden: true, run: () => {} }));
}

interface TreeRows {
  parent: ArrayLike<number>;
  extent: ArrayLike<number>; // rows of the subtree
}

interface GridKeys {
  rows: Int32Array; // that are shown
  tree: TreeRows;
  chosen: number; // a row of the tree, or -1
  collapsed: ReadonlySet<number>;
  isFiltered: boolean; // nothing collapses then
  height: number; // of the grid, in pixels
  select: (row: number) => void;
  toggle: (row: number) => void;
  toggleSubtree?: (row: number, isOpen: boolean) => void;
}

export function handleGridKey(event: KeyboardEvent, grid: GridKeys): void {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const { rows, tree, chosen, collapsed } = grid;
  const at = rows.indexOf(chosen);
  const page = Math.max(1, Math.floor(grid.height / ROW) - 3);
  const go = (index: number): void => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, index))];
    if (row !== undefined) grid.select(row);
  };
  const hasChildren = chosen >= 0 && tree.extent[chosen]! > 1;
  const isCollapsed = collapsed.has(chosen);
  switch (event.key) {
    case "ArrowDown": go(at + 1); break;
    case "ArrowUp": go(at < 0 ? 0 : at - 1); break;
    case "Home": go(0); break;
    case "End": go(rows.length - 1); break;
    case "PageDown": go(at + page); break;
    case "PageUp": go(at - page); break;
    case "ArrowRight":
      if (event.shiftKey && grid.toggleSubtree) grid.toggleSubtree(Math.max(0, chosen), true);
      else if (hasChildren && isCollapsed) grid.toggle(chosen);
      else if (hasChildren) go(at + 1);
      break;
    case "ArrowLeft":
      if (event.shiftKey && grid.toggleSubtree) grid.toggleSubtree(Math.max(0, chosen), false);
      else if (hasChildren && !isCollapsed && !grid.isFiltered) grid.toggle(chosen);
      else if (chosen >= 0 && tree.parent[chosen]! >= 0) grid.select(tree.parent[chosen]!);
      break;
    default:
      return;
  }
  event.preventDefault();
  event.stopPropagation();
}
