/** Requests: answers that are cut, kept or refused, and what is asked for. */
import assert from "node:assert/strict";
import test from "node:test";
import { address, awaySince, configure, curl, ended, Failure, fill, forget, isUpdated, readBlob, readText, request, requestText, returns, starts, waitsUntil } from "../src/api/client.ts";
import { pageOf } from "../src/api/found.ts";
import { queries } from "../src/api/queries.ts";
import { readTurns } from "../src/api/turns.ts";
import { readTraceLine } from "../src/api/whole-trace.ts";
import { filterBody, filterQuery } from "../src/lib/filters.ts";
import { snippets } from "../src/lib/snippets.ts";

/** Answers as a service that ends after the first bytes of the body. */
function cut(): Promise<Response> {
  const body = new ReadableStream<Uint8Array>({
    start: (stream) => stream.enqueue(new TextEncoder().encode('{"items": [')),
    pull: (stream) => stream.error(new TypeError("network error")),
  }, { highWaterMark: 0 });
  return Promise.resolve(new Response(body));
}

const READS = {
  request: () => request("GET", "traces"),
  requestText: () => requestText("traces", {}),
  readText: () => readText("traces"),
};

for (const [name, read] of Object.entries(READS)) {
  test(`${name}: an answer that ends early counts as none, and is tried again`, async () => {
    globalThis.fetch = cut;
    awaySince.value = null;
    await assert.rejects(read(), (error) => error instanceof Failure && error.isTemporary);
    assert.notEqual(awaySince.value, null);
  });
}

/** Answers as a service that hangs, until the read is given up. */
function hanging(_url: unknown, init?: RequestInit): Promise<Response> {
  return new Promise((_, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
}

test("a read that times out counts as unanswered, and makes room for others", async () => {
  globalThis.fetch = hanging as typeof fetch;
  awaySince.value = null;
  const clock = setInterval(() => {}, 1000); // the limit alone wouldn't keep Node running
  const reads = Array.from({ length: 9 }, (_, number) => request("GET", `traces/${number}`, { maxMs: 1 }));
  for (const one of await Promise.allSettled(reads)) {
    assert.ok(one.status === "rejected" && one.reason instanceof Failure && one.reason.isTemporary);
  }
  clearInterval(clock);
  assert.notEqual(awaySince.value, null);
});

test("at most four requests are sent at a time", async () => {
  const open: ((answer: Response) => void)[] = [];
  globalThis.fetch = () => new Promise((resolve) => open.push(resolve));
  const reads = Array.from({ length: 6 }, (_, number) => request("GET", `traces/${number}`));
  assert.equal(open.length, 4);
  for (let at = 0; at < reads.length; at += 1) {
    open[at]!(new Response("{}"));
    await reads[at];
  }
  assert.equal(open.length, 6);
});

test("the first answer after none is a return of the service", async () => {
  awaySince.value = null;
  const before = returns.value;
  answering(new Response("{}"), new Response("", { status: 502 }), new Response("{}"), new Response("{}"));
  await request("GET", "health");
  await assert.rejects(request("GET", "health"));
  assert.equal(returns.value, before);
  for (let n = 0; n < 2; n += 1) await request("GET", "health");
  assert.deepEqual([returns.value - before, awaySince.value], [1, null]);
});

test("a read that the caller gives up does not count as a failure", async () => {
  globalThis.fetch = hanging as typeof fetch;
  awaySince.value = null;
  const caller = new AbortController();
  const read = request("GET", "traces", { signal: caller.signal });
  caller.abort();
  await assert.rejects(read, (error) => !(error instanceof Failure));
  assert.equal(awaySince.value, null);
});

/** Answers each request with the next response; what was asked for. */
function answering(...answers: Response[]): Request[] {
  const asked: Request[] = [];
  globalThis.fetch = (url, init) => {
    asked.push(new Request(url as string, init));
    return Promise.resolve(answers[asked.length - 1]!);
  };
  return asked;
}

test("after the session has ended, nothing but the session is read", async () => {
  const asked = answering(new Response("{}"));
  ended.value = true;
  await assert.rejects(request("GET", "traces"), (error) => error instanceof Failure && error.status === 401);
  await request("GET", "session");
  ended.value = false;
  assert.deepEqual(asked.map((one) => new URL(one.url).pathname.split("/").at(-1)), ["session"]);
});

const tagged = (value: string, tag: string): Response => new Response(JSON.stringify(value), { headers: { ETag: tag } });

test("an answer that was read is asked for by its tag, and replaced by a newer one", async () => {
  forget();
  const unchanged = (): Response => new Response(null, { status: 304 });
  const asked = answering(tagged("old", '"1"'), unchanged(), tagged("new", '"2"'), unchanged(), tagged("new", '"2"'));
  for (const expected of ["old", "old", "new", "new"]) assert.equal(await request("GET", "traces"), expected);
  forget();
  await request("GET", "traces");
  assert.deepEqual(asked.map((one) => one.headers.get("If-None-Match")), [null, '"1"', '"1"', '"2"', null]);
});

test("of too many answers, those that were read last are kept", async () => {
  forget();
  const read = [...Array(100).keys(), 0, 100, 0, 1];
  const asked = answering(...read.map((n) => tagged(String(n), `"${n}"`)));
  for (const n of read) await request("GET", `traces/${n}`);
  assert.deepEqual(asked.slice(-4).map((one) => one.headers.get("If-None-Match")), ['"0"', null, '"0"', null]);
});

test("an answer that isn't JSON is named as that of something else", async () => {
  forget();
  answering(new Response("<h1>Sign in</h1>"));
  await assert.rejects(request("GET", "traces"), (error: Failure) => error.status === 200 && /in place of the service/.test(error.message) && !error.isTemporary);
});

test("the dashboard was updated if its page names other files", async () => {
  const own = new URL(import.meta.url).pathname.split("/").at(-1); // the tests are one file with what they test
  answering(new Response(`<script src="app/${own}">`), new Response("<script src=app/new.js>"), new Response("away", { status: 500 }));
  assert.deepEqual([await isUpdated(), await isUpdated(), await isUpdated()], [false, true, false]);
});

test("a refusal says why, and when to ask again", async () => {
  const refusal = (status: number, headers = {}): Response => new Response(JSON.stringify({ detail: "no", errors: [{ field: "name", message: "too long" }] }), { status, headers });
  const failed = async (answer: Response, method = "GET"): Promise<Failure> => {
    answering(answer);
    return request(method, "traces").then(() => assert.fail(), (error: Failure) => error);
  };
  const invalid = await failed(refusal(422, { "X-Request-ID": "r" }));
  assert.deepEqual([invalid.status, invalid.message, invalid.fields, invalid.requestId, invalid.isTemporary], [422, "no", [{ field: "name", message: "too long" }], "r", false]);
  waitsUntil.value = null;
  const now = Date.now();
  assert.equal((await failed(refusal(503, { "Retry-After": "30" }), "POST")).retryAfterS, 30);
  assert.equal(waitsUntil.value, null);
  for (const status of [429, 503]) {
    const busy = await failed(refusal(status, { "Retry-After": "30" }));
    assert.deepEqual([busy.isTemporary, busy.retryAfterS], [true, 30]);
    assert.ok(waitsUntil.value! >= now + 30_000);
  }
  waitsUntil.value = null;
  for (const said of ["soon", "-1"]) assert.equal((await failed(refusal(503, { "Retry-After": said }))).retryAfterS, null);
  awaySince.value = null;
  assert.equal((await failed(new Response("<h1>", { status: 500 }))).message, "The service answered 500");
  assert.equal(awaySince.value, null);
  for (const status of [502, 503, 504]) {
    awaySince.value = null;
    assert.equal((await failed(new Response("", { status }))).status, 0);
    assert.notEqual(awaySince.value, null);
  }
});

test("each request has the headers of the session, and only a 401 reports a refusal", async () => {
  let refusals = 0;
  configure(() => ({ "X-Project-ID": "p" }), () => (refusals += 1));
  const asked = answering(...[403, 401].map((status) => new Response("", { status })));
  for (const _ of [403, 401]) await assert.rejects(request("POST", "traces"));
  configure(() => ({}), () => {});
  assert.deepEqual([asked.map((one) => one.headers.get("X-Project-ID")), refusals], [["p", "p"], 1]);
});

test("a refusal that comes after a sign-in doesn't end its session: a read is asked again", async () => {
  let refusals = 0;
  configure(() => ({}), () => (refusals += 1));
  const refuse: (() => void)[] = [];
  globalThis.fetch = () => new Promise((resolve) => {
    if (refuse.length === 2) resolve(new Response('"read"'));
    else refuse.push(() => resolve(new Response("", { status: 401 })));
  });
  const [read, written] = [request("GET", "users"), request("POST", "traces")];
  starts.value += 1;
  for (const one of refuse) one();
  await assert.rejects(written, (error: Failure) => error.status === 401 && /Try it again/.test(error.message));
  assert.equal(await read, "read");
  configure(() => ({}), () => {});
  assert.equal(refusals, 0);
});

test("a read is tried again as late as the service asks", () => {
  const { retry, retryDelay } = queries.getDefaultOptions().queries as { retry: (failed: number, error: Error) => boolean; retryDelay: (failed: number, error: Error) => number };
  awaySince.value = null;
  const [busy, refused] = [new Failure(429, "", { retryAfterS: 40 }), new Failure(404, "")];
  assert.deepEqual([0, 2, 3].map((failed) => retry(failed, busy)), [true, true, false]);
  assert.deepEqual([retry(0, refused), retry(0, new Error())], [false, false]);
  assert.ok(retryDelay(0, busy) >= 40_000);
  awaySince.value = Date.now();
  assert.deepEqual([0, 1].map((failed) => retry(failed, busy)), [true, false]);
  awaySince.value = null;
  const least = [1000, 2000, 4000, 30_000];
  [0, 1, 2, 9].forEach((failed, at) => assert.ok(retryDelay(failed, new Failure(0, "")) >= least[at]! && retryDelay(failed, new Failure(0, "")) <= 1.2 * least[at]!));
});

test("a part of a payload ends with a whole character, and knows the length of all", async () => {
  const bytes = new TextEncoder().encode("aé");
  const asked = answering(new Response(bytes.slice(0, 2), { status: 206, headers: { "Content-Range": "bytes 0-1/3" } }), new Response(bytes), new Response("{}", { status: 416 }), new Response(""));
  assert.deepEqual(await readText("p", { maxBytes: 2 }), { text: "a", total: 3, isWhole: false });
  assert.deepEqual(await readText("p"), { text: "aé", total: 3, isWhole: true });
  assert.deepEqual(await readText("p"), { text: "", total: 0, isWhole: true });
  assert.deepEqual(asked.map((one) => one.headers.get("Range")), ["bytes=0-1", "bytes=0-63999999", "bytes=0-63999999", null]);
});

test("turns have their payloads digit by digit, or their beginnings", async () => {
  const turn = (payloads: string): string => `{"trace": {}, "llm_calls": 2, "tool_calls": 3, "input_preview": null, "output_preview": null, ${payloads}}`;
  const cut = '{"trace": {}, "llm_calls": 0, "tool_calls": 0, "input_preview": null, "output_preview": {"text": "[1.0, "}, "input": 2.50, "output": null}';
  answering(new Response(`{"items": [${turn('"input": 1.0, "output": null')}, ${cut}], "next_cursor": "n"}`));
  const { turns, next } = await readTurns("sessions/s", null, new AbortController().signal);
  assert.equal(next, "n");
  assert.deepEqual(turns.map((one) => [one.input, one.output, one.isCut, one.llmCalls, one.toolCalls]), [["1.0", null, false, 2, 3], ["2.50", "[1.0, ", true, 0, 0]]);
});

test("a trace with its scores is one line", async () => {
  const asked = answering(new Response('{"n": 1.0,\r\n"m": 2}\n'), new Response("[3.0]"));
  assert.equal(await readTraceLine("t"), '{"n": 1.0,  "m": 2,"scores":[3.0]}');
  assert.deepEqual(asked.map((one) => new URL(one.url).pathname.split("/").slice(-2).join("/")), ["traces/t", "trace-scores/t"]);
});

test("a file has the name that the service gives it", async () => {
  const named = (header: string): Response => new Response("", { headers: { "Content-Disposition": header } });
  answering(named('attachment; filename="a b.jsonl"'), named("attachment; filename=a.csv; x=1"), named("attachment"));
  for (const name of ["a b.jsonl", "a.csv", null]) assert.equal((await readBlob("f")).name, name);
});

test("an id is found at the address of its page", () => {
  const found = (kind: string, id: string): string | null => pageOf({ kind, project_id: "p" } as never, id);
  const id = "0123456789ABCDEF0123456789abcdef";
  assert.equal(found("trace", id), "/p/p/traces/01234567-89ab-cdef-0123-456789abcdef");
  assert.equal(found("session", id), `/p/p/sessions/${id}`);
  assert.equal(found("session", "a/b"), "/p/p/sessions/a%2Fb");
  assert.equal(found("other", id), null);
  assert.equal(fill("/traces/{trace_id}/x", { trace_id: "a/b" }), "/traces/a%2Fb/x");
});

test("an empty value is asked for where it filters", () => {
  const asked = (search: string): string => new URL(address("traces", filterQuery(new URLSearchParams(search)))).search;
  for (const search of ["?environment=", "?user_id=a", "?tags=&tags=a", "?not_session_id=", "?metadata.k="]) assert.equal(asked(search), search);
  assert.deepEqual(["?query=", "?min_cost="].map(asked), ["", ""]);
  assert.equal(new URL(address("traces", { a: null, b: undefined, c: 0, d: false })).search, "?c=0&d=false");
  assert.deepEqual(filterBody(new URLSearchParams("environment=&user_id=a&not_release="), 0), { environment: "", user_id: "a", not_release: [""] });
});

test("a command for a terminal has each name as one word", () => {
  assert.match(curl("traces", { name: "it's" }, "Bob's bot"), /name=it%27s' .*-H 'X-Project-Name: Bob'\\''s bot'$/s);
});

test("a command for a terminal asks as the view does, with a variable in the place of the secret", () => {
  const question = curl("analytics/compare", {}, "shop", { a: { name: "it's" } });
  assert.match(question, /-H "X-API-Key: \$PANDAPROBE_API_KEY"/);
  assert.match(question, /-H "Content-Type: application\/json" -d '\{"a":\{"name":"it'\\''s"\}\}'$/);
  const ofPerson = curl("organizations/1/members", {}, "shop");
  assert.match(ofPerson, /-H "Authorization: Bearer \$PANDAPROBE_TOKEN"$/);
  assert.doesNotMatch(ofPerson, /Project/);
  assert.match(curl("metrics", {}, "shop"), /X-API-Key/); // the name only begins as that of a person's path
});

test("the service gets the name of a project as it is", () => {
  const command = snippets("http://localhost:8000", "Bob's bot")[0]!.text;
  assert.match(command, /-H 'X-Project-Name: Bob'\\''s bot'/);
  const variables = snippets("http://localhost:8000", "Bob's bot, too").find((one) => one.title === "OpenTelemetry")!.text;
  assert.match(variables, /x-project-name=Bob's%20bot%2C%20too"/); // a comma would end it
});
