/**
 * Who is signed in. The session is a cookie that no script can read, and a verifier that only pages
 * of this origin have: requests carry both. Tokens and keys are sent once, and kept nowhere.
 */
import { computed, signal } from "@preact/signals";
import { address, configure, ended, forget, request, starts } from "./client.ts";
import type { BrowserSessionResponse, KeyScope, SignInMethod } from "./types.d.ts";

export interface Project {
  id: string;
  name: string;
  organization: string;
  organizationId: string;
  canManage: boolean; // its owner or administrator
}

export interface Organization {
  id: string;
  name: string;
  role: string | null; // a key has none
  canManage: boolean;
}

export type Session =
  | { state: "unknown" }
  | { state: "failed"; error: unknown }
  | { state: "out"; problem: string | null; ways: readonly SignInMethod[] }
  | {
      state: "in";
      who: string;
      projects: readonly Project[];
      organizations: readonly Organization[];
      scopes: readonly KeyScope[];
      isPerson: boolean;
      ways: readonly SignInMethod[];
    };

const VERIFIER = "pp.verifier";
const SIGNED_IN = "pp.signed-in"; // when a tab of this browser did last
const AT_PROVIDER = "pp.at-provider"; // this tab has left for the identity provider
const VERIFIER_BYTES = 32;
const FRESH_MS = 60_000;

export const session = signal<Session>({ state: "unknown" });
/** The project of the page, as its address names it. */
export const projectId = signal<string | null>(null);
export const project = computed<Project | null>(() => {
  const now = session.value;
  if (now.state !== "in") return null;
  return now.projects.find((one) => one.id === projectId.value) ?? null;
});

let verifier: string | null = null;
let askedAt = 0; // who is signed in, in ms
let account: string | null = null; // whose data this page has shown

function base64url(bytes: Uint8Array): string {
  const text = btoa(String.fromCharCode(...bytes));
  return text.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** The verifier of this origin. Other tabs have the same one, since they share the cookie. */
function ownVerifier(): string {
  try {
    verifier = localStorage.getItem(VERIFIER) ?? verifier;
  } catch {
    // Without storage the session lasts as long as the page.
  }
  if (verifier === null) {
    verifier = base64url(crypto.getRandomValues(new Uint8Array(VERIFIER_BYTES)));
    try {
      localStorage.setItem(VERIFIER, verifier);
    } catch {
      // As above.
    }
  }
  return verifier;
}

async function challenge(): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(ownVerifier()));
  return base64url(new Uint8Array(digest));
}

function headers(): Record<string, string> {
  const here = projectId.peek();
  // A person may belong to several organizations: without it the first one is meant.
  const organization = project.peek()?.organizationId;
  return {
    "X-Session-Verifier": ownVerifier(),
    ...(here ? { "X-Project-ID": here } : {}),
    ...(organization ? { "X-Organization-ID": organization } : {}),
  };
}

function refused(): void {
  if (session.peek().state !== "in") return;
  forget();
  ended.value = true;
}

configure(headers, refused);

function enter(answer: BrowserSessionResponse): void {
  const ways = answer.ways_in;
  ended.value = false;
  if (!answer.signed_in) {
    session.value = { state: "out", problem: answer.problem, ways };
    return;
  }
  starts.value += 1;
  const now = answer.user?.id ?? answer.key?.id ?? "";
  if (account !== null && account !== now) return location.reload(); // no data of another account may stay
  account = now;
  const organizations = answer.organizations.map(({ id, name, role }) => ({ id, name, role, canManage: role === "OWNER" || role === "ADMIN" }));
  const byId = new Map(organizations.map((one) => [one.id, one]));
  const projects = answer.projects.map((one) => ({
    id: one.id,
    name: one.name,
    organization: byId.get(one.org_id)?.name ?? "",
    organizationId: one.org_id,
    canManage: byId.get(one.org_id)?.canManage ?? false,
  }));
  const who = answer.user?.email ?? answer.key?.name ?? "";
  session.value = { state: "in", who, projects, organizations, scopes: answer.scopes, isPerson: answer.user !== null, ways };
}

/** Whether the session may do what needs this scope. */
export function may(scope: KeyScope): boolean {
  const now = session.value;
  return now.state === "in" && now.scopes.includes(scope);
}

/** Why the session may not do something; nothing if it may. */
export function scopeHint(...scopes: KeyScope[]): string {
  const missing = scopes.filter((one) => !may(one));
  return missing.length === 0 ? "" : `It needs the scope ${missing.join(" and ")}`;
}

/** Asks who is signed in, and why the identity provider didn't sign in, if the address says so. */
export async function resume(): Promise<void> {
  askedAt = Date.now();
  const isBack = comesBack();
  const isRefused = location.pathname.endsWith("/app/sign-in");
  const problem = isRefused ? new URLSearchParams(location.search).get("problem") : null;
  try {
    const before = starts.peek();
    const answer = await request<BrowserSessionResponse>("GET", "session", { query: { problem } });
    if (!answer.signed_in && before !== starts.peek()) return resume(); // it is older than a sign-in
    enter(answer);
    if (isBack) notifyTabs();
  } catch (error) {
    if (session.peek().state !== "in") session.value = { state: "failed", error };
  }
}

/** Projects, organizations and scopes change while a page stays open. */
export function renew(): void {
  if (Date.now() - askedAt > FRESH_MS) void resume();
}

/** Whether this tab comes back from the identity provider, where it may have signed in. */
function comesBack(): boolean {
  try {
    const isBack = sessionStorage.getItem(AT_PROVIDER) !== null;
    sessionStorage.removeItem(AT_PROVIDER);
    return isBack;
  } catch {
    return false;
  }
}

/** Another tab that shows one account must not act as another: all tabs share the cookie. */
function notifyTabs(): void {
  try {
    localStorage.setItem(SIGNED_IN, String(Date.now()));
  } catch {
    // Without storage, tabs share no session.
  }
}

/** Asks again who is signed in when another tab has signed in or out. */
export function followTabs(): void {
  addEventListener("storage", ({ key }) => void ([VERIFIER, SIGNED_IN].includes(key ?? "") && resume()));
}

export async function signIn(
  method: "development" | "token" | "key",
  secret: string | null,
): Promise<void> {
  const body = { method, bind: await challenge(), ...(secret === null ? {} : { [method]: secret.trim() }) };
  forget();
  enter(await request<BrowserSessionResponse>("POST", "session", { body }));
  notifyTabs();
}

/** The page of the dashboard that a person wanted before the sign-in. */
export function destination(): string | null {
  if (!location.pathname.endsWith("/app/sign-in")) return null;
  const to = new URLSearchParams(location.search).get("to") ?? "";
  return to.startsWith("/app/") && !to.startsWith("/app/sign-in") ? to : "/app/";
}

/** Leaves the page for the identity provider, which leads back to this address. */
export async function signInWithProvider(): Promise<void> {
  const here = `/app${location.pathname.split("/app").slice(1).join("/app")}${location.search}`;
  const to = destination() ?? here;
  try {
    sessionStorage.setItem(AT_PROVIDER, "1");
  } catch {
    // Without storage, tabs share no session.
  }
  location.assign(address("session/sign-in", { bind: await challenge(), to }));
}

export async function signOut(): Promise<void> {
  await request("DELETE", "session");
  forget();
  try {
    localStorage.removeItem(VERIFIER);
  } catch {
    // It was never stored.
  }
  verifier = null;
  await resume();
}
