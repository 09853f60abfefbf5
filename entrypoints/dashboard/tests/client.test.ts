/** Reads whose connection ends within the answer. */
import assert from "node:assert/strict";
import test from "node:test";
import { address, awaySince, curl, Failure, readText, request, requestText } from "../src/api/client.ts";
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

test("a read that the caller gives up does not count as a failure", async () => {
  globalThis.fetch = hanging as typeof fetch;
  awaySince.value = null;
  const caller = new AbortController();
  const read = request("GET", "traces", { signal: caller.signal });
  caller.abort();
  await assert.rejects(read, (error) => !(error instanceof Failure));
  assert.equal(awaySince.value, null);
});

test("an empty value is asked for where it filters", () => {
  const asked = (search: string): string => new URL(address("traces", filterQuery(new URLSearchParams(search)))).search;
  for (const search of ["?environment=", "?user_id=a", "?tags=&tags=a", "?not_session_id=", "?metadata.k="]) assert.equal(asked(search), search);
  assert.deepEqual(["?query=", "?min_cost="].map(asked), ["", ""]);
  assert.deepEqual(filterBody(new URLSearchParams("environment=&user_id=a&not_release="), 0), { environment: "", user_id: "a", not_release: [""] });
});

test("a command for a terminal has each name as one word", () => {
  assert.match(curl("traces", { name: "it's" }, "Bob's bot"), /name=it%27s' .*-H 'X-Project-Name: Bob'\\''s bot'$/s);
});

test("the service gets the name of a project as it is", () => {
  const command = snippets("http://localhost:8000", "Bob's bot")[0]!.text;
  assert.match(command, /-H 'X-Project-Name: Bob'\\''s bot'/);
});
