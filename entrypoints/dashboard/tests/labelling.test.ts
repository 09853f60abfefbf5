import assert from "node:assert/strict";
import { test } from "node:test";
import type { AnnotationQueueItem } from "../src/api/types.d.ts";
import { START, answered, next, received, skip, undone, valueOf, type Labelling } from "../src/lib/labelling.ts";
import { Random } from "./random.ts";

const item = (trace: string): AnnotationQueueItem => ({ trace_id: trace }) as AnnotationQueueItem;
const answerOf = (trace: string) => ({ item: item(trace), value: 1, score: `s-${trace}`, isOver: false });
const names = (now: Labelling): string[] => now.items.map((one) => one.trace_id);

test("digits are values", () => {
  assert.deepEqual(["0", "1", "2", "9", "a", "10"].map((key) => valueOf(key, true)), [0, 1, 0.2, 0.9, null, null]);
  assert.deepEqual(["0", "1", "2"].map((key) => valueOf(key, false)), [0, 1, null]);
});

test("what arrives never replaces the item that is shown", () => {
  let now = received(START, [item("a"), item("b")]);
  now = received(now, [item("c"), item("a"), item("d")]);
  assert.deepEqual(names(now), ["a", "c", "d"]);
  now = answered(now, answerOf("a"));
  now = next(received(now, [item("c")]));
  assert.deepEqual(names(received(now, [item("a"), item("c"), item("e")])), ["c", "e"]);
});

test("undo shows the last answer's item again, once for each answer", () => {
  let now = received(START, [item("a"), item("b"), item("c")]);
  for (const trace of ["a", "b"]) now = next(answered(now, answerOf(trace)));
  now = undone(now);
  assert.deepEqual(names(now), ["b", "c"]);
  now = undone(now);
  assert.deepEqual(names(now), ["a", "b", "c"]);
  assert.equal(undone(now), now);
});

test("no order of acts loses an answer or shows an item twice", () => {
  const random = new Random(11);
  for (let round = 0; round < 200; round += 1) {
    let now = START;
    for (let step = 0; step < 30; step += 1) {
      const act = Math.floor(random.next() * 5);
      const first = now.items[0];
      if (act === 0) now = received(now, Array.from({ length: 3 }, () => item(`${Math.floor(random.next() * 9)}`)).filter((one, at, all) => all.findIndex((it) => it.trace_id === one.trace_id) === at));
      else if (act === 1 && first && !now.answer) now = answered(now, answerOf(first.trace_id));
      else if (act === 2 && now.answer) now = next(now);
      else if (act === 3 && !now.answer) now = skip(now);
      else if (act === 4) now = undone(now);
      assert.equal(new Set(names(now)).size, now.items.length);
      const behind = new Set(names(now).slice(1));
      assert.ok(now.answers.every((one) => !behind.has(one.item.trace_id)));
      assert.ok(now.answer === null || now.answer === now.answers.at(-1));
    }
  }
});
