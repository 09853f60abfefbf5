/** Small parts of every view. */
import type { ComponentChildren, JSX } from "preact";
import { Component } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Failure } from "../api/client.ts";
import { signal } from "@preact/signals";
import { startOf } from "../lib/format.ts";
import { offerFocus } from "../lib/keys.ts";

const PATHS: Record<string, string> = {
  traces: "M2 3h9M4 6.5h10M4 10h6M6 13.5h7",
  sessions: "M2 3h12v8H7l-3 3v-3H2z",
  users: "M8 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM2.5 14c.7-3 2.8-4 5.5-4s4.8 1 5.5 4",
  overview: "M2 2h5v5H2zM9 2h5v5H9zM2 9h5v5H2zM9 9h5v5H9z",
  scores: "M2 13 6 8l3 2.5L14 4M10.5 4H14v3.5",
  label: "M2 8.5V2h6.5L14 7.5 7.5 14zM5 5h.01",
  runs: "M8 2v2.5M8 11.5V14M2 8h2.5M11.5 8H14M8 10.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z",
  metrics: "M3 14V8M6.5 14V3M10 14v-4M13.5 14V6",
  monitors: "M2 3h12v8H2zM5 14h6M4.5 7.5h2l1.5-2 1.5 3 1-1h1",
  alerts: "M4 11V7a4 4 0 0 1 8 0v4l1.5 1.5h-11zM7 14h2",
  datasets: "M8 6c3 0 5-.9 5-2s-2-2-5-2-5 .9-5 2 2 2 5 2zM3 4v8c0 1.1 2 2 5 2s5-.9 5-2V4M3 8c0 1.1 2 2 5 2s5-.9 5-2",
  experiments: "M6 2v4L2.5 13a1 1 0 0 0 .9 1.5h9.2a1 1 0 0 0 .9-1.5L10 6V2M5 2h6M4.5 10h7",
  usage: "M8 2v12M11 4.5C10.5 3.5 9.5 3 8 3 6.3 3 5 4 5 5.3 5 8.5 11 7 11 10.5 11 12 9.7 13 8 13c-1.7 0-2.8-.6-3.3-1.7",
  data: "M2 3h12v4H2zM2 9h12v4H2zM4.5 5h.01M4.5 11h.01",
  organization: "M3 14V2h7v12M10 6h3v8M1.5 14h13M5.5 5h2M5.5 8h2M5.5 11h2",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zm3.7-1.3L14 14",
  close: "m4 4 8 8m0-8-8 8",
  copy: "M5 5h8.5v8.5H5zM3 11H2.5V2.5H11V3",
  columns: "M2 3h12v10H2zM6.5 3v10M10.5 3v10",
  help: "M5.5 6a2.5 2.5 0 1 1 3.5 2.3c-.7.4-1 .8-1 1.7M8 13h.01",
  theme: "M8 2v12M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2z",
  play: "M4 3l9 5-9 5z",
  warn: "M8 2 1.5 13.5h13zM8 6.5v3.5M8 12h.01",
  minus: "M3 8h10",
  plus: "M3 8h10M8 3v10",
  fit: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  left: "M10 3 5 8l5 5",
  right: "M6 3l5 5-5 5",
};

export function Icon({ name }: { name: string }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name] ?? ""} />
    </svg>
  );
}

export function Button(
  props: JSX.ButtonHTMLAttributes<HTMLButtonElement> & { icon?: string; label?: string },
): JSX.Element {
  const { icon, label, children, ...rest } = props;
  return (
    <button type="button" {...rest} {...(label ? { "aria-label": label, title: label } : {})}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

/** What a screen reader announces, and what is shown for a moment. */
const notice = signal("");
let noticeTimer = 0;

export function announce(text: string): void {
  notice.value = text;
  clearTimeout(noticeTimer);
  noticeTimer = window.setTimeout(() => (notice.value = ""), 5000);
}

const dialogs = signal(0); // that are open

/** Shows the notice and announces it. A dialog has its own: screen readers skip what is outside. */
export function Toast({ level = 0 }: { level?: number }): JSX.Element {
  const text = level === dialogs.value ? notice.value : "";
  return <div class={`toast ${text ? "on" : ""}`} aria-live="polite">{text}</div>;
}

export async function copy(text: string, what = "Copied"): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    announce(what);
  } catch {
    announce("This browser doesn't let the page copy");
  }
}

export function Copy({ text, label }: { text: string | (() => string); label: string }): JSX.Element {
  return (
    <Button
      class="quiet"
      icon="copy"
      label={label}
      onClick={() => void copy(typeof text === "string" ? text : text(), "Copied")}
    />
  );
}

/** The page is of another version than the service, so files of it are gone. */
export class Updated extends Error {
  constructor() {
    super("The dashboard was updated after this page was loaded. Load the page again to go on.");
  }
}

const DETAIL_LENGTH = 2000; // of a failure that are shown

export function FailureBox(props: { error: unknown; again?: () => void }): JSX.Element {
  const { error } = props;
  const isUpdated = error instanceof Updated;
  const again = isUpdated ? () => location.reload() : props.again;
  const failure = error instanceof Failure ? error : null;
  const detail = error instanceof Error ? error.message : String(error);
  const isMissing = failure?.status === 404 || failure?.fields.some((one) => one.field.startsWith("path."));
  const left = useCountdown(again && failure?.isTemporary ? failure.retryAfterS : null, again);
  const report = `${detail}\n${location.href}\n${failure?.requestId ?? ""}`;
  return (
    <div class="failure" role="alert">
      <Icon name="warn" />
      <div>
        <strong>{failure?.status === 403 ? "Not allowed" : isMissing ? "Not here, or not yours" : isUpdated ? "There is a new version" : "This didn’t work"}</strong>
        <p>{detail.length > DETAIL_LENGTH ? `${startOf(detail, DETAIL_LENGTH)} … (the report has all of it)` : detail}</p>
        {failure && failure.fields.length > 0 && (
          <ul>
            {failure.fields.map((one) => (
              <li key={one.field}>
                <code>{one.field}</code> {one.message}
              </li>
            ))}
          </ul>
        )}
        <p class="actions">
          {again && !isMissing && <Button onClick={again}>{isUpdated ? "Load the page again" : left === null ? "Try again" : `Try again now, or in ${left} s`}</Button>}
          <Button class="quiet" onClick={() => void copy(report, "Copied the report")}>
            Copy report
          </Button>
        </p>
      </div>
    </div>
  );
}

/** Why something failed, if it did. What was read can be read again. */
export function Failed({ of }: { of: { error: unknown; refetch?: () => unknown } }): JSX.Element | null {
  const { error, refetch } = of;
  if (error == null) return null;
  return <FailureBox error={error} {...(refetch ? { again: () => void refetch() } : {})} />;
}

/** A form that calls `send` and stays on the page. */
export function Form({ send, ...rest }: JSX.FormHTMLAttributes<HTMLFormElement> & { send: () => unknown }): JSX.Element {
  return (
    <form
      {...rest}
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    />
  );
}

/** For an input: calls `set` with what was typed or chosen. */
export function valueTo(set: (value: string) => void): (event: { currentTarget: { value: string } }) => void {
  return (event) => set(event.currentTarget.value);
}

type Option = string | number | readonly (string | number)[]; // a value that is its text, or both

/** A choice of texts. Without a value, the option "" is chosen. */
export function Select({ value, choose, options, ...rest }: Omit<JSX.SelectHTMLAttributes<HTMLSelectElement>, "value"> & { value: string | number | null | undefined; choose: (value: string) => void; options: readonly Option[] }): JSX.Element {
  return (
    <select {...rest} value={value ?? ""} onChange={valueTo(choose)}>
      {options.map((one) => {
        const [id, text = id] = typeof one === "object" ? one : [one];
        return <option key={id} value={id}>{text}</option>;
      })}
    </select>
  );
}

/** Seconds until `then` is called; null without a wait. */
function useCountdown(seconds: number | null, then: (() => void) | undefined): number | null {
  const [left, setLeft] = useState(seconds);
  const latest = useRef(then);
  latest.current = then;
  useEffect(() => {
    setLeft(seconds);
    if (seconds === null) return;
    const end = Date.now() + seconds * 1000;
    const timer = setInterval(() => {
      const rest = Math.ceil((end - Date.now()) / 1000);
      setLeft(Math.max(0, rest));
      if (rest > 0) return;
      clearInterval(timer);
      latest.current?.();
    }, 500);
    return () => clearInterval(timer);
  }, [seconds]);
  return left;
}

/** A part that throws shows itself as failed; the others stay. */
export class Guarded extends Component<
  { children: ComponentChildren; name: string },
  { error: unknown }
> {
  override state = { error: null as unknown };

  static override getDerivedStateFromError(error: unknown): { error: unknown } {
    return { error };
  }

  override componentDidUpdate(before: { name: string }): void {
    if (before.name !== this.props.name && this.state.error) this.setState({ error: null });
  }

  override render(): ComponentChildren {
    const { error } = this.state;
    if (!error) return this.props.children;
    return <FailureBox error={error} again={() => this.setState({ error: null })} />;
  }
}

/** Appears after a moment, so that a quick answer doesn't flicker. */
export function Loading({ what }: { what: string }): JSX.Element | null {
  const [shown, show] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => show(true), 150);
    return () => clearTimeout(timer);
  }, []);
  return shown ? (
    <p class="loading" role="status">
      Loading {what} …
    </p>
  ) : null;
}

export function Status({ value, short }: { value: string; short?: boolean }): JSX.Element {
  const shape: Record<string, string> = { ERROR: "✕", COMPLETED: "✓", OK: "✓", RUNNING: "◐", PENDING: "○" };
  const word = value === "UNSET" ? "no status" : value.toLowerCase();
  return (
    <span class={`status s-${value}`} title={word}>
      <span aria-hidden="true">{shape[value] ?? "·"}</span>
      <span class={short ? "sr" : ""}>{word}</span>
    </span>
  );
}

const KINDS: Record<string, string> = { AGENT: "A", CHAIN: "C", EMBEDDING: "E", LLM: "L", OTHER: "O", RETRIEVER: "R", TOOL: "T" };

export function Kind({ value }: { value: string }): JSX.Element {
  return (
    <span class={`kind k-${value}`} title={value.toLowerCase()} aria-label={value.toLowerCase()} role="img">
      {KINDS[value] ?? "?"}
    </span>
  );
}

/** So that keys scroll the page, and a screen reader tells its title and goes on in it. */
export function focusMain(): void {
  const main = document.getElementById("main");
  if (!main?.contains(document.activeElement)) offerFocus(main?.querySelector<HTMLElement>(":scope > [autofocus]") ?? main);
}

/** The browser gives the focus back, but not to what is hidden yet. If what had it is gone, the page gets it. */
export function closeDialog(dialog: HTMLDialogElement | null, held?: Element | null): void {
  dialog?.close();
  setTimeout(() => {
    if (document.activeElement !== document.body) return;
    if (held instanceof HTMLElement) held.focus();
    if (document.activeElement === document.body) focusMain();
  });
}

/** A native dialog: the browser keeps the focus in it and gives it back. */
export function Dialog(props: {
  title: string;
  close: () => void;
  children: ComponentChildren;
  wide?: boolean;
}): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  const isPressed = useRef(false); // outside the dialog: a selection of text may end there
  const [level, setLevel] = useState(-1);
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    setLevel(++dialogs.value);
    return () => {
      closeDialog(dialog);
      dialogs.value--;
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={props.wide ? "wide" : ""}
      aria-label={props.title}
      onCancel={(event) => {
        event.preventDefault();
        props.close();
      }}
      onPointerDown={(event) => (isPressed.current = event.target === element.current)}
      onClick={(event) => {
        if (isPressed.current && event.target === element.current) props.close();
      }}
    >
      <div class="dialog">
        <header>
          <h2>{props.title}</h2>
          <Button class="quiet" icon="close" label="Close" onClick={props.close} />
        </header>
        {props.children}
        <Toast level={level} />
      </div>
    </dialog>
  );
}

/** With marks that end what changes the direction of text, if a name has any of it. */
export function isolated(name: string): string {
  return /[\u202a-\u202e\u2066-\u2069]/.test(name) ? `\u2068${name}\u2069` : name;
}

const titles = signal<readonly { text: string }[]>([]); // of what is shown; the last one counts

export function useTitle(...parts: (string | null | undefined)[]): void {
  const named = parts.filter((one) => typeof one === "string" && one !== "") as string[];
  const text = [...named.map(isolated), "PandaProbe"].join(" · ");
  useEffect(() => {
    const own = { text };
    titles.value = [...titles.peek(), own];
    return () => {
      titles.value = titles.peek().filter((one) => one !== own);
    };
  }, [text]);
}

/** Calls `arrived` once the window has the title of another page than before. */
export function useWindowTitle(path: string, arrived: () => void): void {
  const text = titles.value.at(-1)?.text;
  const last = useRef("");
  useEffect(() => {
    if (text === undefined) return; // it is loaded
    document.title = text;
    if (last.current !== "" && last.current !== path) arrived();
    last.current = path;
  }, [text, path]);
}

function PageTitle({ text }: { text: string }): JSX.Element {
  useTitle(text);
  return <h1>{text}</h1>;
}

export function Empty(props: { title: string; children?: ComponentChildren; isPage?: boolean }): JSX.Element {
  const { title, children, isPage } = props;
  return (
    <div class="empty">
      {isPage ? <PageTitle text={title} /> : <p class="empty-title">{title}</p>}
      {children}
    </div>
  );
}
