/** The frame of all views: navigation, the command palette, the help, messages. */
import { signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { awaySince, ended, request, ROOT, waitsUntil } from "../api/client.ts";
import { queries, useReturn } from "../api/queries.ts";
import { project, projectId, session, signOut } from "../api/session.ts";
import { find, pageOf } from "../api/found.ts";
import { ago, instant, zoneName } from "../lib/format.ts";
import { commands, useCommands, type Command } from "../lib/keys.ts";
import { PAGES, type Page } from "../pages.tsx";
import { nextTheme, singleKeys, theme, toggleZone, zone } from "../lib/preferences.ts";
import { paramsOf } from "../url/params.ts";
import { Button, Dialog, Icon, announce, copy, focusMain, Select, Toast } from "./basics.tsx";
import { Link } from "./Link.tsx";

const AGAIN_MS = 2000; // until the service is asked again whether it is back
const ASKED_MAX_MS = 10_000; // for its answer

const open = signal<"palette" | "help" | null>(null);
const offline = signal(!navigator.onLine);
addEventListener("online", () => (offline.value = false));
addEventListener("offline", () => (offline.value = true));

const HOME = "/?all=1"; // also with one project

type Entry = Page & { nav: NonNullable<Page["nav"]> };
/** Not a constant: the pages and this file import each other. */
const entries = (): Entry[] => PAGES.filter((one): one is Entry => one.nav !== undefined);
const GROUPS = ["Observe", "Evaluate", "Manage"] as const;

export function projectPath(page: string): string {
  const root = `/p/${encodeURIComponent(projectId.value ?? "")}`;
  return page === "" ? root : `${root}/${page}`; // "" is the overview
}

export function Shell({ children }: { children: ComponentChildren }): JSX.Element {
  const [path, navigate] = useLocation();
  const here = project.value; // null also if the address names none of the person
  const organization = organizationHere(path);
  useCommands([
    { keys: "Ctrl+k", label: "Command palette", run: () => (open.value = "palette") },
    { keys: "?", label: "Keyboard shortcuts", run: () => (open.value = "help") },
    { keys: "t", label: "Change the theme", run: changeTheme },
    { keys: "u", label: "Local time or UTC", run: changeZone },
    { keys: "y", label: "Copy a link to this page", run: () => void copy(location.href, "Copied the link") },
    { keys: "g h", label: "Go to all projects", run: () => navigate(HOME) },
    { keys: ",", label: "Preferences, sessions, invitations", run: () => navigate("/me") },
    ...(organization === null ? [] : [{ keys: "g Shift+o", label: "Go to the organization", run: () => navigate(organization.path) }]),
    ...(here === null
      ? []
      : entries().map(({ path: page, nav }) => ({
          keys: nav.key,
          label: `Go to ${nav.label.toLowerCase()}`,
          run: () => navigate(projectPath(page)),
        }))),
  ]);
  const now = session.value;
  return (
    <div class={ended.value ? "shell behind" : "shell"}>
      <a class="skip" href="#main" onClick={focusMain}>
        Skip to the content
      </a>
      <nav aria-label="Main">
        <Link href={HOME} class="brand" aria-label="PandaProbe: all projects">
          <span class="mark" aria-hidden="true" />
          <span class="wide-only">PandaProbe</span>
        </Link>
        {here !== null && <ProjectSwitch />}
        {here !== null && <Menu path={path} />}
        {organization !== null && (
          <Link href={organization.path} class="organization" title={organization.name} aria-current={path.startsWith(organization.path.replace(/\w+$/, "")) ? "page" : undefined}>
            <Icon name="organization" /> <span>{organization.name}</span>
          </Link>
        )}
        <div class="foot">
          <Button class="quiet" icon="search" onClick={() => (open.value = "palette")} label="Commands (Ctrl+K)">
            <span class="wide-only">Commands</span>
          </Button>
          <Button class="quiet" icon="help" label="Keyboard shortcuts" onClick={() => (open.value = "help")} />
          <Button class="quiet" icon="theme" label={`Theme: ${theme.value}`} onClick={changeTheme} />
          <Button class="quiet zone" label={`Times are in ${zoneName()}`} onClick={changeZone}>
            {zone.value === "utc" ? "UTC" : "local"}
          </Button>
        </div>
        {now.state === "in" && (
          <p class="who">
            <Link href="/me" title={now.who}><span>{now.who}</span></Link>
            <Button class="link" onClick={() => leave()}>
              Sign out
            </Button>
          </p>
        )}
      </nav>
      <main id="main" tabIndex={-1} aria-labelledby="title">
        <Away />
        <Waiting />
        {children}
      </main>
      <Toast />
      {open.value === "palette" && <Palette />}
      {open.value === "help" && <Help />}
    </div>
  );
}

/** The organization that the page is about, or that of the project, or the first; null for a key, which manages none. */
function organizationHere(path: string): { name: string; path: string } | null {
  const now = session.value;
  if (now.state !== "in" || !now.isPerson) return null;
  const looked = path.startsWith("/o/") ? paramsOf("/o/:org", path).org : project.value?.organizationId;
  const own = now.organizations.find((one) => one.id === looked) ?? now.organizations[0];
  return own === undefined ? null : { name: own.name, path: `/o/${encodeURIComponent(own.id)}/members` };
}

/** Whether an address is that of an entry of the navigation, or of a page that belongs to it. */
function isAt(path: string): (entry: Entry) => boolean {
  const here = path.replace(/\/$/, "");
  return ({ path: page, nav }) => [page, ...(nav.also ?? [])].map(projectPath).some((one) => here === one || (page !== "" && path.startsWith(`${one}/`)));
}

/** The pages of the project. On a narrow screen they are behind a button. */
function Menu({ path }: { path: string }): JSX.Element {
  const [isOpen, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => setOpen(false), [path]);
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key !== "Escape" || !isOpen) return;
    event.preventDefault(); // it is none of the page's
    setOpen(false);
    button.current?.focus();
  };
  const isWithin = isAt(path);
  return (
    <>
      <button type="button" ref={button} class="narrow-only" aria-expanded={isOpen} aria-controls="pages" onKeyDown={onKeyDown} onClick={() => setOpen(!isOpen)}>
        <Icon name="columns" /> {entries().find(isWithin)?.nav.label ?? "Pages"}
      </button>
      <div id="pages" class={isOpen ? "pages on" : "pages"} onKeyDown={onKeyDown}>
        {GROUPS.map((group) => {
          const own = entries().filter(({ nav }) => nav.group === group);
          if (own.length === 0) return null;
          return (
            <section key={group}>
              <h2 id={`pages-${group}`}>{group}</h2>
              <ul aria-labelledby={`pages-${group}`}>
                {own.map((entry) => (
                  <li key={entry.path}>
                    <Link href={projectPath(entry.path)} aria-current={isWithin(entry) ? "page" : undefined}>
                      <Icon name={entry.path.split("/")[0] || "overview"} />
                      <span>{entry.nav.label}</span>
                      {entry.nav.mark && <entry.nav.mark />}
                    </Link>
                  </li>
                ))}
              </ul>
            </section>
          );
        })}
      </div>
    </>
  );
}

/** What is shown stays while the service is away, and is read again when it is back. */
export function Away(): JSX.Element | null {
  const since = awaySince.value;
  const isAway = since !== null;
  useReturn(() => queries.invalidateQueries());
  useEffect(() => {
    if (!isAway) return;
    let isAsked = false; // one question at a time: of a service that hangs, they would pile up
    const timer = setInterval(() => {
      if (document.visibilityState === "hidden" || isAsked) return;
      isAsked = true;
      const asked = (): boolean => (isAsked = false);
      request("GET", "health", { maxMs: ASKED_MAX_MS }).then(asked, asked);
    }, AGAIN_MS);
    return () => clearInterval(timer);
  }, [isAway]);
  if (!isAway && !offline.value) return null;
  return (
    <p class="banner" role="status">
      {offline.value ? "This machine is offline." : "The service does not answer."}{" "}
      {since === null ? "What you see may be old." : `What you see is from before ${instant(since)}.`}
    </p>
  );
}

/** Reads that the service asked to wait with go on by themselves. */
function Waiting(): JSX.Element | null {
  const until = waitsUntil.value;
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (until === null) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [until]);
  const left = until === null ? 0 : Math.ceil((until - now) / 1000);
  if (left <= 0) return null;
  return (
    <p class="banner" role="status">
      The service asks to wait. <span aria-hidden="true">It goes on in {left} s.</span>
    </p>
  );
}

function leave(): void {
  signOut().catch((error: Error) => announce(`Not signed out: ${error.message}`));
}

function changeTheme(): void {
  nextTheme();
  announce(`Theme: ${theme.value}`);
}

function changeZone(): void {
  toggleZone();
  announce(`Times are in ${zoneName()}`);
}

function ProjectSwitch(): JSX.Element {
  const [path, navigate] = useLocation();
  const now = session.value;
  const projects = now.state === "in" ? now.projects : [];
  const page = entries().find(isAt(path))?.path ?? "traces";
  if (projects.length < 2) return <p class="project" title={project.value?.name}>{project.value?.name}</p>;
  return (
    <Select class="project" aria-label="Project" value={projectId.value} choose={(value) => navigate(`/p/${encodeURIComponent(value)}/${page}`)} options={projects.map((one) => [one.id, one.name])} />
  );
}

const FAR_CHARS_MIN = 3;
const FAR_WAIT_MS = 200; // after the last key
const FAR_NAMES = 5;

/** What the service finds: an id in any of my projects, and traces of this project by name. */
function useFar(text: string, navigate: (to: string) => void): readonly Command[] {
  const [far, setFar] = useState<readonly Command[]>([]);
  useEffect(() => {
    setFar([]);
    if (text.length < FAR_CHARS_MIN) return;
    const stop = new AbortController();
    const opens = (label: string, to: string): Command => ({ keys: "", label, run: () => navigate(to) });
    const add = (more: readonly Command[]): void => setFar((before) => [...before, ...more]);
    const timer = setTimeout(() => {
      find(text, stop.signal).then(
        (found) =>
          add(
            found.flatMap((one) => {
              const to = pageOf(one, text);
              return to === null ? [] : [opens(`Open ${one.kind.replace("_", " ")} ${text} in ${projectName(one.project_id)}`, to)];
            }),
          ),
        () => {},
      );
      if (projectId.value === null) return;
      request<{ items: { trace_id: string; name: string; started_at: string }[] }>("GET", "traces", { query: { name: text, limit: FAR_NAMES }, signal: stop.signal }).then(
        ({ items }) => add(items.map((one) => opens(`Trace ${one.name}, ${ago(one.started_at)}`, projectPath(`traces/${one.trace_id}`)))),
        () => {},
      );
    }, FAR_WAIT_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);
  return far;
}

function projectName(id: string): string {
  const now = session.value;
  return (now.state === "in" && now.projects.find((one) => one.id === id)?.name) || id;
}

function Palette(): JSX.Element {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const [, navigate] = useLocation();
  const list = useRef<HTMLUListElement>(null);
  const now = session.value;
  const far = useFar(text.trim(), navigate);
  const found = useMemo(() => {
    const projects = now.state === "in" ? now.projects : [];
    const all: Command[] = [
      ...commands().filter((one) => !one.hidden && one.keys !== "Ctrl+k"),
      ...projects.map((one) => ({
        keys: "",
        label: `Project ${one.name}`,
        run: () => navigate(`/p/${encodeURIComponent(one.id)}/traces`),
      })),
      ...(now.state === "in" && now.isPerson ? now.organizations : []).map((one) => ({
        keys: "",
        label: `Organization ${one.name}`,
        run: () => navigate(`/o/${encodeURIComponent(one.id)}/members`),
      })),
      { keys: "", label: "API reference", run: () => location.assign(new URL("docs", ROOT).href) },
      { keys: "", label: "Sign out", run: () => leave() },
    ];
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = all.filter((one) => words.every((word) => one.label.toLowerCase().includes(word)));
    return [...far, ...matching];
  }, [text, now, far]);
  const close = (): void => {
    open.value = null;
  };
  const run = (command: Command | undefined): void => {
    close();
    if (command) setTimeout(() => command.run());
  };
  useEffect(() => {
    list.current?.children[at]?.scrollIntoView({ block: "nearest" });
  }, [at]);
  return (
    <Dialog title="Commands" close={close}>
      <input
        type="search"
        role="combobox"
        aria-label="Find a command, a project, or a trace by its id"
        placeholder="A command, a project, or the id of a trace"
        aria-controls="palette"
        aria-expanded="true"
        aria-activedescendant={found[at] ? `command-${at}` : undefined}
        value={text}
        autoFocus
        onInput={(event) => {
          setText(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") setAt(Math.min(at + 1, found.length - 1));
          else if (event.key === "ArrowUp") setAt(Math.max(at - 1, 0));
          else if (event.key === "Enter") run(found[at]);
          else return;
          event.preventDefault();
        }}
      />
      <ul id="palette" role="listbox" aria-label="Commands" class="options" ref={list}>
        {found.map((one, index) => (
          <li
            key={index}
            id={`command-${index}`}
            role="option"
            aria-selected={index === at}
            onClick={() => run(one)}
          >
            <span>{one.label}</span>
            {one.keys && <kbd>{one.keys}</kbd>}
          </li>
        ))}
      </ul>
      {found.length === 0 && <p>Nothing has this name.</p>}
    </Dialog>
  );
}

function Help(): JSX.Element {
  const groups = new Map<string, Command[]>();
  const inOrder = commands().toSorted((a, b) => Number(a.group === undefined) - Number(b.group === undefined)); // those of the page first
  for (const one of inOrder) {
    const name = one.group ?? "Everywhere";
    groups.set(name, [...(groups.get(name) ?? []), one]);
  }
  return (
    <Dialog title="Keyboard shortcuts" close={() => (open.value = null)} wide>
      <label class="check">
        <input
          type="checkbox"
          checked={singleKeys.value === "on"}
          onChange={(event) => (singleKeys.value = event.currentTarget.checked ? "on" : "off")}
        />
        Single keys work outside of text fields
      </label>
      <div class="help">
        {[...groups].map(([name, list]) => (
          <section key={name}>
            <h3>{name}</h3>
            <dl>
              {list.map((one) => (
                <div key={one.keys + one.label}>
                  <dt>
                    <kbd>{one.keys}</kbd>
                  </dt>
                  <dd>{one.label}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
