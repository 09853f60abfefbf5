/** What a person prefers in this browser: theme, time zone, single-key shortcuts, columns. */
import { effect, signal, type Signal } from "@preact/signals";
import { moved, resized, widthsOf, widthsText, type Widths } from "./columns.ts";

export function read(name: string): string | null {
  try {
    return localStorage.getItem(`pp.${name}`);
  } catch {
    return null; // storage is switched off
  }
}

export function write(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(`pp.${name}`);
    else localStorage.setItem(`pp.${name}`, value);
  } catch {
    // It is kept until the page is closed.
  }
}

function preference<T extends string>(name: string, fallback: T, allowed: readonly T[]): Signal<T> {
  const stored = read(name) as T | null;
  const kept = signal<T>(stored !== null && allowed.includes(stored) ? stored : fallback);
  let first = true;
  effect(() => {
    const value = kept.value;
    if (!first) write(name, value);
    first = false;
  });
  return kept;
}

const THEMES = ["system", "light", "dark"] as const;
export const theme = preference("theme", "system", THEMES);
export const zone = preference("zone", "local", ["local", "utc"]);
export const density = preference("density", "comfortable", ["comfortable", "compact"]);
export const singleKeys = preference("keys", "on", ["on", "off"]);
/** With these hidden, a list of traces fits 1280 px. */
const HIDDEN = "spans,models,session_id,user_id,environment,release,tags,ended_at";
export const hiddenColumns = signal<ReadonlySet<string>>(new Set((read("hidden") ?? HIDDEN).split(",").filter(Boolean)));

/** The columns that a person moved, in their order; the others keep their places behind them. */
export const columnOrder = signal<readonly string[]>((read("columns") ?? "").split(",").filter(Boolean));

export const columnWidths = signal<Widths>(widthsOf(read("widths") ?? ""));

effect(() => {
  const root = document.documentElement;
  if (theme.value === "system") delete root.dataset.theme;
  else root.dataset.theme = theme.value;
});

effect(() => {
  document.documentElement.dataset.density = density.value;
});

export function toggleColumn(name: string): void {
  const next = new Set(hiddenColumns.value);
  if (!next.delete(name)) next.add(name);
  hiddenColumns.value = next;
  write("hidden", [...next].join(","));
}

/** `names` are the columns as they are shown. */
export function moveColumn(names: readonly string[], name: string, by: 1 | -1): void {
  columnOrder.value = moved(names, name, by);
  write("columns", columnOrder.value.join(","));
}

/** `shown` is its width as it is drawn. */
export function resizeColumn(name: string, shown: number, by: 1 | -1): void {
  columnWidths.value = resized(columnWidths.value, name, shown, by);
  write("widths", widthsText(columnWidths.value));
}

export function resetColumns(): void {
  columnOrder.value = [];
  columnWidths.value = {};
  write("columns", null);
  write("widths", null);
}

export function nextTheme(): void {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] ?? "system";
}

export function toggleZone(): void {
  zone.value = zone.value === "utc" ? "local" : "utc";
}

/** How the payloads of spans of this name are shown, if the person chose. */
export function chosenRendering(span: string): string | null {
  return read(`as.${span.slice(0, 100)}`);
}

export function chooseRendering(span: string, as: string): void {
  write(`as.${span.slice(0, 100)}`, as);
}
