/** Keyboard shortcuts: one table, of which the palette and the help are made. */
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { singleKeys } from "./preferences.ts";

export interface Command {
  keys: string; // `j`, `Shift+X`, `g t`, `Ctrl+K`
  label: string;
  run: (event?: KeyboardEvent) => void;
  group?: string;
  hidden?: boolean; // not in the palette
}

const layers = signal<readonly (readonly Command[])[]>([]);
let pending = "";
let pendingUntil = 0;
const SEQUENCE_MS = 1200;

export function commands(): readonly Command[] {
  return layers.value.flat();
}

/** Adds commands, whose keys win over those of earlier ones; returns what removes them. */
export function addCommands(layer: readonly Command[]): () => void {
  layers.value = [...layers.peek(), layer];
  return () => {
    layers.value = layers.peek().filter((one) => one !== layer);
  };
}

/** The commands of a view, while it is shown. A later view's key wins. */
export function useCommands(list: readonly Command[]): void {
  const latest = useRef(list);
  latest.current = list;
  const shape = list.map((one) => `${one.keys}:${one.label}`).join("|");
  // Before the view is painted: a key that is pressed at once must not be lost.
  useLayoutEffect(
    () => addCommands(list.map((one, index) => ({ ...one, run: (event) => latest.current[index]?.run(event) }))),
    [shape],
  );
}

/** What a key types; on a keyboard of another script the Latin letter of its place. */
function keyOf({ key, code }: KeyboardEvent): string {
  if (key === " ") return "Space";
  const isOther = /^[^\x00-\x7f]$/.test(key) && /^Key[A-Z]$/.test(code);
  return isOther ? code.slice("Key".length) : key;
}

export function nameOf(event: KeyboardEvent): string {
  const key = keyOf(event);
  const isLetter = /^[a-z]$/i.test(key);
  const isSign = /^[^a-z0-9]$/i.test(key); // on some keyboards Alt types `[`
  const parts = [
    event.ctrlKey || event.metaKey ? "Ctrl" : "",
    event.altKey && !isSign ? "Alt" : "",
    event.shiftKey && (isLetter || key.length > 1) ? "Shift" : "",
    isLetter ? key.toLowerCase() : key,
  ];
  return parts.filter(Boolean).join("+");
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** Keys that a focused control has for itself. */
const ON_CONTROLS: Record<string, string> = {
  Enter: "button, a, summary",
  Space: "button, summary, input",
};

const MENU = ".menu[open]";

/** Focuses what has just come, unless one types or chooses meanwhile. */
export function offerFocus(element: HTMLElement | null | undefined): void {
  const held = document.activeElement;
  if (isTyping(held) || held?.closest(`${MENU}, dialog`)) return;
  element?.focus({ preventScroll: true });
}

/** After a press, or as the focus moves: closes open menus, but one that goes on. */
export function closeMenus(event: Event): void {
  const target = event.target as Element;
  for (const menu of document.querySelectorAll<HTMLDetailsElement>(MENU)) {
    const isWithin = menu.contains(target);
    if (!isWithin) menu.open = false;
    else if (event.type === "click" && target.closest(".link, a")) leaveMenu(menu);
  }
}

function leaveMenu(menu: HTMLDetailsElement): void {
  menu.open = false;
  menu.querySelector("summary")!.focus(); // what has the focus is hidden now
}

const TAKEN = 229; // the code of a key that an input method takes; in Safari that alone says so

/** An input method takes Enter, Escape and arrows while it converts: they do nothing else then. */
export function leaveToInputMethod(event: KeyboardEvent): void {
  if (event.isComposing || event.keyCode === TAKEN) event.stopImmediatePropagation();
}

export function handleKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.key === "Shift") return;
  const name = nameOf(event);
  const isSingle = !name.startsWith("Ctrl+") && name !== "Escape";
  if (isSingle && (isTyping(event.target) || singleKeys.value === "off")) return;
  if (document.querySelector("dialog[open]") !== null && (name !== "Ctrl+k" || document.querySelector(".sign-in") !== null)) return;
  const menu = name === "Escape" && document.querySelector<HTMLDetailsElement>(MENU);
  if (menu) {
    event.preventDefault();
    return leaveMenu(menu);
  }
  const own = ON_CONTROLS[name];
  if (own !== undefined && event.target instanceof Element && event.target.closest(own)) return;
  const now = event.timeStamp;
  const sequence = now < pendingUntil ? `${pending} ${name}` : name;
  const all = commands();
  const found = all.findLast((one) => one.keys.toLowerCase() === sequence.toLowerCase());
  pendingUntil = 0;
  if (found !== undefined) {
    event.preventDefault();
    found.run(event);
  } else if (all.some((one) => one.keys.startsWith(`${name} `))) {
    [pending, pendingUntil] = [name, now + SEQUENCE_MS];
  }
}
