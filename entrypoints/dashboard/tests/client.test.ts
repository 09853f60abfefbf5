/** Reads whose connection ends within the answer. */
import assert from "node:assert/strict";
import test from "node:test";
import { awaySince, Failure, readText, request, requestText } from "../src/api/client.ts";

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
  test(`${name}: an answer that ends early is no answer, and is tried again`, async () => {
    globalThis.fetch = cut;
    awaySince.value = null;
    await assert.rejects(read(), (error) => error instanceof Failure && error.isTemporary);
    assert.notEqual(awaySince.value, null);
  });
}
