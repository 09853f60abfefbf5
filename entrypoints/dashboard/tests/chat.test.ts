import assert from "node:assert/strict";
import { test } from "node:test";
import { chatOf, innerJson, looksLikeMarkdown, MARKDOWN_CHARS_MAX, sharedStart, standsForResult, textOf, type Part, type Turn } from "../src/lib/payload/chat.ts";

function said(part: Part): string {
  if (part.type === "text" || part.type === "thinking") return part.text;
  if (part.type === "call") return `${part.name}(${part.text ?? (part.node ? "node" : "")})`;
  if (part.type === "result") return `=> ${part.parts.map(said).join(" ")}`;
  return part.type;
}

function brief(turns: Turn[] | null): string[] | null {
  return turns && turns.map((turn) => `${turn.role}: ${turn.parts.map(said).join(" | ")}`);
}

const SHAPES: [string, unknown, string[] | null][] = [
  ["messages", [{ role: "user", content: "hi" }, { role: "assistant", content: "hello" }], ["user: hi", "assistant: hello"]],
  ["wrapped messages", { messages: [{ role: "user", content: "hi" }] }, ["user: hi"]],
  [
    "tool calls",
    [
      { role: "assistant", content: null, tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: "{}" } }] },
      { role: "tool", tool_call_id: "1", content: "42" },
    ],
    ["assistant: f({})", "tool: => 42"],
  ],
  ["choices", { choices: [{ message: { role: "assistant", content: "yes" } }] }, ["assistant: yes"]],
  [
    "Responses items",
    { output: [{ type: "reasoning", summary: [{ type: "summary_text", text: "so" }] }, { type: "function_call", name: "f", arguments: "{}", call_id: "1" }, { type: "function_call_output", call_id: "1", output: "42" }, { type: "message", role: "assistant", content: [{ type: "output_text", text: "done" }] }] },
    ["assistant: so", "assistant: f({})", "tool: => 42", "assistant: done"],
  ],
  [
    "content blocks of Anthropic",
    { system: "be kind", messages: [{ role: "assistant", content: [{ type: "thinking", thinking: "hm" }, { type: "text", text: "ok" }, { type: "tool_use", id: "1", name: "f", input: {} }] }, { role: "user", content: [{ type: "tool_result", tool_use_id: "1", content: "42" }] }] },
    ["system: be kind", "assistant: hm | ok | f(node)", "user: => 42"],
  ],
  ["contents of Gemini", { contents: [{ role: "user", parts: [{ text: "hi" }] }, { role: "model", parts: [{ functionCall: { name: "f", args: {} } }] }] }, ["user: hi", "assistant: f(node)"]],
  ["LangChain's messages", { messages: [[{ type: "human", content: "hi" }, { type: "ai", content: "hello" }]] }, ["user: hi", "assistant: hello"]],
  ["LangChain's serialised messages", [{ lc: 1, type: "constructor", id: ["langchain", "schema", "HumanMessage"], kwargs: { content: "hi" } }], ["user: hi"]],
  ["parts of OpenTelemetry", [{ role: "user", parts: [{ type: "text", content: "hi" }] }], ["user: hi"]],
  ["images", [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:image/png;base64,AA" } }] }], ["user: media"]],
  [
    "calls that LangChain reports twice",
    [{ role: "assistant", content: [{ type: "tool_use", id: "1", name: "f", input: { a: 1 } }], tool_calls: [{ id: "1", name: "f", args: { a: 1 } }, { id: "2", name: "f", args: { a: 1 } }] }],
    ["assistant: f(node) | f(node)"],
  ],
  [
    "calls that are repeated without an id",
    [{ role: "assistant", content: [{ type: "tool_use", id: "1", name: "f", input: { a: 1 } }], tool_calls: [{ name: "f", arguments: { a: 1 } }, { name: "f", arguments: { a: 2 } }] }],
    ["assistant: f(node) | f(node)"],
  ],
  [
    "Bedrock's blocks",
    [{ role: "assistant", content: [{ text: "so" }, { toolUse: { toolUseId: "1", name: "f", input: {} } }] }, { role: "user", content: [{ toolResult: { toolUseId: "1", content: [{ json: { t: 1 } }, { text: "ok" }] } }] }],
    ["assistant: so | f(node)", "user: => json ok"],
  ],
  [
    "parts of Gemini's library, with null for what they aren't",
    [{ role: "model", parts: [{ text: null, function_response: null, inline_data: null, function_call: { id: null, name: "f", args: {} } }] }, { role: "user", parts: [{ text: null, function_call: null, function_response: { name: "f", response: "42" } }] }],
    ["assistant: f(node)", "user: => 42"],
  ],
  [
    "media without their data",
    [{ role: "user", content: [{ type: "text", text: "look" }, { type: "media", mime_type: "image/png", size: 3 }, { image: { format: "png", source: {} } }, { type: "other", value: 7 }] }],
    ["user: look | media | media | json"],
  ],
  ["refusals, and developers", [{ role: "developer", content: "be kind" }, { role: "assistant", content: null, refusal: "no" }], ["system: be kind", "assistant: no"]],
  ["an unknown block", [{ role: "user", content: [{ type: "novel", x: 1 }] }], ["user: json"]],
  ["no chat", { question: "hi", n: 1 }, null],
  ["a string", "hi", null],
  ["rows with a role that is none", [{ role: "admin", id: 7 }], null],
];

for (const [name, value, expected] of SHAPES) {
  test(`reads ${name}`, () => assert.deepEqual(brief(chatOf(JSON.stringify(value))), expected));
}

test("the text of a payload", () => {
  assert.equal(textOf('"a\\nb"'), "a\nb");
  assert.equal(textOf('{"question": "why?"}'), "why?");
  assert.equal(textOf('{"a": "b", "c": "d"}'), null);
  assert.equal(textOf("not JSON"), "not JSON");
});

for (const content of [null, "", [], [""], [{ type: "text", text: "" }], [{ text: "" }]]) {
  test(`empty messages of a user after calls stand for results: ${JSON.stringify(content)}`, () => {
    const empty = { role: "user", content };
    const calls = { role: "assistant", content: [{ type: "tool_use", id: "1", name: "f", input: {} }] };
    const turns = chatOf(JSON.stringify([empty, calls, empty, empty, { role: "user", content: "go on" }, empty]))!;
    assert.deepEqual(turns.map((_, at) => standsForResult(turns, at)), [false, false, true, true, false, false]);
    assert.deepEqual(brief(turns), ["user: ", "assistant: f(node)", "user: ", "user: ", "user: go on", "user: "]);
    assert.ok(turns.every((turn) => turn.parts.length === (turn.role === "assistant" || turn === turns[4] ? 1 : 0)));
  });
}

test("a result has the name of its tool", () => {
  const [turn] = chatOf(JSON.stringify([{ role: "user", parts: [{ functionResponse: { name: "f", response: { t: 1 } } }] }]))!;
  const [part] = turn!.parts;
  assert.equal(part!.type === "result" && part!.name, "f");
});

test("a text looks like markdown by its marks, if it isn't long", () => {
  for (const text of ["# a", "so\n- a", "1. a", "a **b** c", "> a", "|a|b|"]) assert.ok(looksLikeMarkdown(text), text);
  for (const text of ["a - b", "2 ** 3", "#a", `# ${"a".repeat(MARKDOWN_CHARS_MAX)}`]) assert.ok(!looksLikeMarkdown(text), text.slice(0, 20));
});

test("a string holds JSON if it can be read as one", () => {
  for (const text of ['{"a": 1}', " [1] ", `{${" ".repeat(100_000)}?}`]) assert.equal(innerJson(text), text);
  for (const text of ["{name}", "[cleared]", "[1}", "{}{}", "1", '"a"', ""]) assert.equal(innerJson(text), null, text);
});

test("turns that two calls share at their start", () => {
  const message = (role: string, content: string) => ({ role, content });
  const chat = (...messages: object[]) => chatOf(JSON.stringify(messages)) ?? [];
  const first = chat(message("system", "be kind"), message("user", "hi"));
  const second = chat(message("system", "be kind"), message("user", "hi"), message("assistant", "hello"));
  assert.equal(sharedStart(first, second), 2);
  assert.equal(sharedStart(first, chat(message("user", "hi"))), 0);
  assert.equal(sharedStart([], second), 0);
  const result = (content: string) => chat({ role: "tool", tool_call_id: "1", content });
  assert.equal(sharedStart(result("42"), result("[cleared]")), 0);
});

test("turns with calls are the same if what is called is, wherever it stands", () => {
  const call = (city: string, more: object = {}) =>
    chatOf(JSON.stringify([{ role: "assistant", ...more, content: [{ type: "tool_use", id: "1", name: "f", input: { city } }] }])) ?? [];
  assert.equal(sharedStart(call("Oslo"), call("Rome")), 0);
  assert.equal(sharedStart(call("Oslo"), call("Oslo", { stop_reason: "tool_use" })), 1);
});

test("a long chat is read from its end", () => {
  const messages = Array.from({ length: 4999 }, (_, n) => ({ role: "user", content: `text ${n}` }));
  const turns = chatOf(JSON.stringify(messages))!;
  assert.equal(turns.length, 4999);
  assert.deepEqual(brief(turns.slice(-1)), ["user: text 4998"]);
  const again = chatOf(JSON.stringify({ messages: [...messages, { role: "assistant", content: "so" }] }))!;
  assert.equal(sharedStart(turns, again), 4999);
});

test("a message with too many blocks is shown as JSON", () => {
  const content = Array.from({ length: 20_001 }, () => 1);
  const turns = chatOf(JSON.stringify([{ role: "user", content: "hi" }, { role: "user", content }]))!;
  assert.deepEqual(brief(turns), ["user: hi", "assistant: json"]);
});
