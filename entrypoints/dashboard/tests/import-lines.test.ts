import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_LINES, batchesOf } from "../src/lib/import-lines.ts";

async function* inParts(text: string, size: number): AsyncGenerator<string> {
  for (let at = 0; at < text.length; at += size) yield text.slice(at, at + size);
}

async function read(text: string, size: number) {
  const state = { isComplete: false, lines: 0 };
  const batches = [];
  for await (const one of batchesOf(inParts(text, size), state)) batches.push(one);
  return { state, batches };
}

test("lines are the same however the file is cut, and keep their digits", async () => {
  const lines = Array.from({ length: 250 }, (_, n) => `{"trace_id":"${n}","metadata":{"n":1.0,"big":107505301260286111}}`);
  const end = lines.map((one, n) => (n === 249 ? `${one.slice(0, -1)},"export":{"complete":true,"traces":250}}` : one)).join("\n") + "\n";
  for (const size of [1, 7, 1000, 1_000_000]) {
    const { state, batches } = await read(end, size);
    assert.deepEqual(state, { isComplete: true, lines: 250 });
    assert.deepEqual(batches.map((one) => one.first), [1, 1 + BATCH_LINES, 1 + 2 * BATCH_LINES]);
    assert.equal(batches.map((one) => one.body.slice('{"traces":['.length, -2)).join(","), lines.join(","));
    assert.equal(batches.at(-1)?.chars, end.length);
  }
});

test("a file without its last line is not complete, and empty lines are nothing", async () => {
  assert.deepEqual((await read('{"a":1}\n\n{"a":2}', 3)).state, { isComplete: false, lines: 2 });
  const { state, batches } = await read("\n \n", 1);
  assert.deepEqual([state, batches], [{ isComplete: false, lines: 0 }, []]);
});

test("a long line is sent alone", async () => {
  const long = `{"input":"${"x".repeat(5_000_000)}"}`;
  const { batches } = await read(`{"a":1}\n${long}\n{"a":2}\n`, 1_000_000);
  assert.deepEqual(batches.map((one) => one.first), [1, 2, 3]);
});
