/** Views that a person named: addresses of a list, kept in this browser for each project. */
import { signal } from "@preact/signals";
import { startOf } from "./format.ts";
import { read, write } from "./preferences.ts";
import { parseViews, viewOf, type SavedView } from "./stored-views.ts";

const VIEWS_MAX = 50;
const NAME_MAX = 80;
const changes = signal(0);

export function savedViews(project: string): SavedView[] {
  void changes.value;
  return parseViews(read(`views.${project}`));
}

/** A view of the same name is replaced; the oldest ones go if there are too many. */
export function saveView(project: string, name: string, search: string): void {
  const named = startOf(name.trim(), NAME_MAX);
  const others = savedViews(project).filter((one) => one.name !== named);
  store(project, [...others, { name: named, search: viewOf(search) }].slice(-VIEWS_MAX));
}

export function dropView(project: string, name: string): void {
  store(
    project,
    savedViews(project).filter((one) => one.name !== name),
  );
}

function store(project: string, views: readonly SavedView[]): void {
  write(`views.${project}`, views.length > 0 ? JSON.stringify(views) : null);
  changes.value++;
}
