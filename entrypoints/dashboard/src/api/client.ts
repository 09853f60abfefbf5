/** Requests to the service: four at a time, conditional reads, failures as values with a reason. */
import { signal } from "@preact/signals";
import { quoted } from "../lib/snippets.ts";
import type { Reads } from "./types.d.ts";

/** The address below which the service is: this script is at `app/assets/…` below it. */
export const ROOT: URL = new URL("../../", import.meta.url);
const REQUESTS_AT_A_TIME = 4; // what one caller may have in work
const REMEMBERED_BYTES = 32_000_000;
const REMEMBERED_ANSWERS = 100;
const PROXY_STATUSES = [502, 504]; // of a proxy that doesn't reach the service; so is a 503 without Retry-After, which the service always sends
const PARSED_BYTES_MAX = 64_000_000;

export interface FieldProblem {
  field: string;
  message: string;
}

/** An answer without success, or no answer (status 0). */
export class Failure extends Error {
  readonly status: number;
  readonly fields: readonly FieldProblem[];
  readonly requestId: string | null;
  readonly retryAfterS: number | null;

  constructor(
    status: number,
    detail: string,
    more: { fields?: FieldProblem[]; requestId?: string | null; retryAfterS?: number | null } = {},
  ) {
    super(detail);
    this.status = status;
    this.fields = more.fields ?? [];
    this.requestId = more.requestId ?? null;
    this.retryAfterS = more.retryAfterS ?? null;
  }

  get isTemporary(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

export type Query = Record<string, unknown>;

export interface Call {
  query?: Query | undefined;
  body?: unknown;
  text?: string; // of the body, if it is JSON already
  signal?: AbortSignal | undefined;
  maxMs?: number; // that a read may take
  headers?: Record<string, string> | undefined;
}

let credentials: () => Record<string, string> = () => ({});
let whenRefused: () => void = () => {};

/** Called once by the session: what is sent along, and what happens after a 401. */
export function configure(headers: typeof credentials, refused: typeof whenRefused): void {
  [credentials, whenRefused] = [headers, refused];
}

/** An empty text is left out, but in a list it is a value as others are. */
export function address(path: string, query: Query = {}): string {
  const url = new URL(path.replace(/^\//, ""), ROOT);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : value === "" ? [] : [value]) {
      if (one !== null && one !== undefined) url.searchParams.append(name, String(one));
    }
  }
  return url.href;
}

/** The path of the document with its parameters filled in. */
export function fill(path: string, parameters: Record<string, unknown>): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String(parameters[name])),
  );
}

let busy = 0;
const waiting: (() => void)[] = [];

async function turn<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  if (busy >= REQUESTS_AT_A_TIME) await new Promise<void>((resolve) => waiting.push(resolve));
  else busy += 1;
  try {
    signal?.throwIfAborted();
    return await work();
  } finally {
    const next = waiting.shift();
    if (next === undefined) busy -= 1;
    else next(); // it takes over this turn
  }
}

interface Remembered {
  tag: string;
  answer: unknown;
  size: number;
}

const remembered = new Map<string, Remembered>();

export function forget(): void {
  remembered.clear();
}

function remember(key: string, one: Remembered): void {
  remembered.delete(key);
  remembered.set(key, one);
  let total = 0;
  for (const { size } of remembered.values()) total += size;
  for (const [oldest, { size }] of remembered) {
    if (remembered.size <= REMEMBERED_ANSWERS && total <= REMEMBERED_BYTES) break;
    remembered.delete(oldest);
    total -= size;
  }
}

/** When a read goes on that the service asked to wait for, in ms; null if none waits. */
export const waitsUntil = signal<number | null>(null);

/** When the service stopped to answer, in ms; null while it answers. */
export const awaySince = signal<number | null>(null);

/** How often it answered again since: also if no view was drawn in between. */
export const returns = signal(0);

/** Whether the session has ended: the page waits for a sign-in, and reads nothing until then. */
export const ended = signal(false);

/** How often the service said that someone is signed in: an older refusal may be of a session before. */
export const starts = signal(0);

const READ_MAX_MS = 60_000; // of an answer as JSON: the service itself gives up after ten seconds

/** The signal of a read, with a time limit: a connection may stay open and never answer. */
function limited({ signal, maxMs = READ_MAX_MS }: Call): AbortSignal {
  const limit = AbortSignal.timeout(maxMs);
  return signal ? AbortSignal.any([signal, limit]) : limit;
}

/** Whether the caller doesn't want the answer any longer. */
function isGivenUp(signal?: AbortSignal): boolean {
  return signal?.aborted === true && (signal.reason as Error | undefined)?.name !== "TimeoutError";
}

async function fetched(method: string, url: string, call: Call): Promise<Response> {
  const headers: Record<string, string> = {
    Accept: "application/json",
    ...credentials(),
    ...call.headers,
  };
  const init: RequestInit = {
    method,
    headers,
    cache: "no-store",
    credentials: "same-origin",
    redirect: "error",
    signal: call.signal ?? null,
  };
  if (call.body !== undefined || call.text !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = call.text ?? JSON.stringify(call.body);
  }
  try {
    const answer = await fetch(url, init);
    const isOfProxy = PROXY_STATUSES.includes(answer.status) || (answer.status === 503 && !answer.headers.has("Retry-After"));
    if (!isOfProxy) {
      if (awaySince.value !== null) returns.value += 1;
      awaySince.value = null;
      return answer;
    }
  } catch (error) {
    if (isGivenUp(call.signal)) throw error;
  }
  throw noAnswer();
}

function noAnswer(): Failure {
  awaySince.value ??= Date.now();
  return new Failure(0, "The service does not answer");
}

/** Reads the body of an answer. If the connection ends within it, the request is tried again. */
async function whole<T>(body: Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await body;
  } catch (error) {
    throw isGivenUp(signal) ? error : noAnswer();
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Failure(200, "Something else, such as a proxy, answered in place of the service");
  }
}

async function failure(answer: Response): Promise<Failure> {
  let problem: { detail?: unknown; errors?: FieldProblem[] } = {};
  try {
    problem = await answer.json();
  } catch {
    // A proxy answered with a page of its own.
  }
  const detail = typeof problem.detail === "string" ? problem.detail : `The service answered ${answer.status}`;
  const wait = Number(answer.headers.get("Retry-After"));
  return new Failure(answer.status, detail, {
    fields: Array.isArray(problem.errors) ? problem.errors : [],
    requestId: answer.headers.get("X-Request-ID"),
    retryAfterS: wait > 0 ? wait : null,
  });
}

async function send(method: string, url: string, call: Call): Promise<Response> {
  const before = starts.peek();
  const answer = await fetched(method, url, call);
  if (answer.ok || answer.status === 304) {
    if (waitsUntil.value !== null && waitsUntil.value <= Date.now()) waitsUntil.value = null;
    return answer;
  }
  if (answer.status === 401 && !ended.peek()) {
    const isOld = before !== starts.peek();
    if (isOld && method === "GET") return send(method, url, call);
    if (!isOld) whenRefused();
    if (isOld || ended.peek()) throw new Failure(401, "The session had ended. Try it again.");
  }
  const refused = await failure(answer);
  if (method === "GET" && refused.isTemporary && refused.retryAfterS !== null) waitsUntil.value = Date.now() + refused.retryAfterS * 1000;
  throw refused;
}

/** The answer of any request, as JSON; null without a body. */
export async function request<T>(method: string, path: string, call: Call = {}): Promise<T> {
  const url = address(path, call.query);
  return turn(async () => {
    if (ended.peek() && method === "GET" && path !== "session") throw new Failure(401, "The session has ended");
    const known = method === "GET" ? remembered.get(url) : undefined;
    const headers = known ? { ...call.headers, "If-None-Match": known.tag } : call.headers;
    const signal = method === "GET" ? limited(call) : call.signal;
    const answer = await send(method, url, { ...call, headers, signal });
    if (answer.status === 304 && known) {
      remember(url, known);
      return known.answer as T;
    }
    const text = await whole(answer.text(), signal);
    const value = (text === "" ? null : parsed(text)) as T;
    const tag = answer.headers.get("ETag");
    if (tag !== null && method === "GET") remember(url, { tag, answer: value, size: text.length });
    return value;
  }, call.signal);
}

/** Whether the service has another dashboard than this page: then files that weren't loaded yet are gone. */
export async function isUpdated(): Promise<boolean> {
  const page = await fetch(new URL("app", ROOT), { cache: "no-store", signal: AbortSignal.timeout(READ_MAX_MS) });
  return page.ok && !(await page.text()).includes(new URL(import.meta.url).pathname.split("/").at(-1)!);
}

/** The text of a JSON answer, for values that are shown digit by digit. */
export async function requestText(path: string, query: Query, signal?: AbortSignal): Promise<string> {
  return turn(async () => whole((await send("GET", address(path, query), { signal })).text(), signal), signal);
}

/** A file of the service, and the name that the service gives it. */
export async function readBlob(path: string): Promise<{ blob: Blob; name: string | null }> {
  return turn(async () => {
    const answer = await send("GET", address(path), {});
    const name = /filename="?([^";]+)"?/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1];
    return { blob: await whole(answer.blob()), name: name ?? null };
  });
}

export interface PayloadPart {
  text: string;
  total: number; // bytes of the whole
  isWhole: boolean;
}

/** The text of a payload as it was stored: no number passes through a float. */
export async function readText(
  path: string,
  options: { maxBytes?: number; signal?: AbortSignal | undefined } = {},
): Promise<PayloadPart> {
  const limit = options.maxBytes ?? PARSED_BYTES_MAX;
  return turn(async () => {
    const headers = { Range: `bytes=0-${limit - 1}` };
    let answer: Response;
    try {
      answer = await send("GET", address(path), { signal: options.signal, headers });
    } catch (error) {
      if (!(error instanceof Failure && error.status === 416)) throw error;
      answer = await send("GET", address(path), { signal: options.signal }); // it is empty
    }
    const said = /\/(\d+)$/.exec(answer.headers.get("Content-Range") ?? "")?.[1];
    let [text, size] = ["", 0];
    const decoder = new TextDecoder();
    // Part by part as it comes: megabytes at once would stop the page.
    for (const reader = answer.body!.getReader(); ; ) {
      const { value } = await whole(reader.read(), options.signal);
      if (value === undefined) break;
      size += value.byteLength;
      text += decoder.decode(value, { stream: true });
    }
    const total = said === undefined ? size : Number(said);
    if (total <= size) text += decoder.decode(); // else the character that the end cut is left out
    return { text, total, isWhole: total <= size };
  }, options.signal);
}

/** A GET of the document: path, parameters and answer are checked against it. */
export function read<P extends keyof Reads>(
  path: P,
  parameters: Reads[P]["path"],
  query?: Reads[P]["query"],
  signal?: AbortSignal,
): Promise<Reads[P]["answer"]> {
  return request("GET", fill(path, parameters), { query: query as Query, signal });
}

/** The same request for a terminal, without a secret. With a body it is a POST. */
export function curl(path: string, query: Query, project: string, body?: unknown): string {
  const isOfPerson = /^(me|organizations)\b/.test(path); // keys aren't accepted there
  const credential = isOfPerson ? "Authorization: Bearer $PANDAPROBE_TOKEN" : "X-API-Key: $PANDAPROBE_API_KEY";
  const parts = [quoted(address(path, query)), `-H "${credential}"`];
  if (!isOfPerson) parts.push(`-H ${quoted(`X-Project-Name: ${project}`)}`);
  if (body !== undefined) parts.push(`-H "Content-Type: application/json" -d ${quoted(JSON.stringify(body))}`);
  return `curl ${parts.join(" \\\n  ")}`;
}
