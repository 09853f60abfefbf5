/**
 * A payload as the turns of a chat, or null if it is none. Known shapes: messages and Responses
 * items of OpenAI, content blocks of Anthropic, contents of Gemini, LangChain's messages, parts of
 * OpenTelemetry. What has no shape of its own becomes a part with its JSON, so nothing is lost.
 */
import { childrenOf, NotJson, rootOf, stringAt, type JsonChild, type JsonNode } from "./json-index.ts";

export interface Call {
  type: "call";
  name: string;
  id: string | null;
  node: JsonNode | null;
  text: string | null;
}

export type Part =
  | { type: "text"; text: string }
  | { type: "thinking"; text: string }
  | Call
  | { type: "result"; id: string | null; name: string | null; parts: Part[] }
  | { type: "media"; label: string; node: JsonNode }
  | { type: "json"; label: string | null; node: JsonNode };

export interface Turn {
  role: string;
  name: string | null;
  parts: Part[];
  source: string; // the text that the nodes of its parts are in
}

type Read = Omit<Turn, "source">;

const TURNS_MAX = 5000; // more are no chat, so that none is left out
const LOOKED_AT = 5; // items of a list, before all are read
const CHILDREN_MAX = 20_000; // of an object or list in a chat; with more it is none
export const MARKDOWN_CHARS_MAX = 30_000; // the parser takes the square of some texts
const LISTS = ["messages", "input_messages", "output_messages", "contents", "input", "output", "new_messages", "history"];
const WRAPPERS = ["message", "content", "response", "data", "kwargs", "result", "outputs", "inputs", "state", "generations", "update"];
const SYSTEM = ["system", "instructions", "systemInstruction", "system_instruction", "system_instructions"];
const ROLES: Record<string, string> = {
  human: "user",
  HumanMessage: "user",
  ai: "assistant",
  AIMessage: "assistant",
  AIMessageChunk: "assistant",
  model: "assistant",
  SystemMessage: "system",
  ToolMessage: "tool",
  function: "tool",
  developer: "system",
};
const MESSAGE_TYPES = new Set(["human", "ai", "system", "tool", "function", "HumanMessage", "AIMessage", "AIMessageChunk", "SystemMessage", "ToolMessage"]);
const ITEM_TYPES = new Set(["message", "function_call", "function_call_output", "reasoning", "computer_call", "web_search_call", "file_search_call", "mcp_call"]);

class NoChat extends Error {}

/** An empty text says as little as null, in whatever shape it is sent. */
function textParts(text: string): Part[] {
  return text === "" ? [] : [{ type: "text", text }];
}

class Reader {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  members(node: JsonNode | undefined): Map<string | number, JsonNode> {
    const found = new Map<string | number, JsonNode>();
    if (node?.kind !== "object") return found;
    for (const child of this.children(node)) found.set(child.key, child);
    return found;
  }

  items(node: JsonNode | undefined): JsonNode[] {
    return node?.kind === "array" ? this.children(node) : [];
  }

  private children(node: JsonNode): JsonChild[] {
    const { children, next } = childrenOf(this.text, node, CHILDREN_MAX);
    if (next !== null) throw new NoChat();
    return children;
  }

  string(node: JsonNode | undefined): string | null {
    return node?.kind === "string" ? stringAt(this.text, node) : null;
  }

  isNull(node: JsonNode | undefined): boolean {
    return node === undefined || this.text.startsWith("null", node.start);
  }

  /** Whether an object is a message, an item of a conversation, or a block of content. */
  isMessage(node: JsonNode | undefined): boolean {
    const members = this.members(node);
    if (members.size === 0) return false;
    const type = this.string(members.get("type"));
    if (this.string(members.get("role")) !== null) {
      return ["content", "parts", "tool_calls", "text", "function_call", "refusal"].some((key) => members.has(key));
    }
    if (type !== null && MESSAGE_TYPES.has(type) && members.has("content")) return true;
    if (type !== null && MESSAGE_TYPES.has(type) && members.has("data")) return true;
    if (type !== null && ITEM_TYPES.has(type)) return true;
    return members.has("kwargs") && members.has("id") && this.className(members) !== null;
  }

  /** The class of a message that LangChain serialised: the last part of its `id`. */
  className(members: Map<string | number, JsonNode>): string | null {
    const name = this.string(this.items(members.get("id")).at(-1));
    return name !== null && name in ROLES ? name : null;
  }

  messages(node: JsonNode | undefined, depth = 0): JsonNode[] | null {
    if (node === undefined || depth > 6) return null;
    if (node.kind === "array") {
      const first = childrenOf(this.text, node, LOOKED_AT).children;
      if (first.length > 0 && first.every((item) => this.isMessage(item))) {
        return childrenOf(this.text, node, TURNS_MAX + 1).children;
      }
      return first.length === 1 ? this.messages(first[0], depth + 1) : null;
    }
    if (node.kind === "string" && depth > 0) return null;
    if (this.isMessage(node)) return [node];
    const members = this.members(node);
    const choices = this.items(members.get("choices")).concat(this.items(members.get("candidates")));
    if (choices.length > 0) {
      const found = choices.flatMap((choice) => this.messages(choice, depth + 1) ?? []);
      if (found.length > 0) return found;
    }
    for (const key of [...LISTS, ...WRAPPERS]) {
      const found = this.messages(members.get(key), depth + 1);
      if (found !== null) return found;
    }
    return null;
  }

  turn(node: JsonNode): Read {
    const members = this.members(node);
    const className = this.className(members);
    const type = this.string(members.get("type"));
    const wrapped = members.get("kwargs") ?? members.get("data");
    if (wrapped?.kind === "object" && (className !== null || (type !== null && !members.has("content")))) {
      const inner = this.turn(wrapped);
      const role = className ?? type ?? inner.role;
      return { ...inner, role: ROLES[role] ?? role };
    }
    const said = this.string(members.get("role")) ?? (type !== null && MESSAGE_TYPES.has(type) ? type : null);
    const role = said ?? (type?.endsWith("_output") ? "tool" : "assistant");
    const parts: Part[] = [];
    if (said === null && type !== null && type !== "message") {
      parts.push(...this.block(node));
      return { role, name: null, parts };
    }
    for (const key of ["reasoning_content", "reasoning"]) {
      const thought = this.string(members.get(key));
      if (thought) parts.push({ type: "thinking", text: thought });
    }
    for (const key of ["content", "parts", "text", "refusal"]) parts.push(...this.content(members.get(key)));
    const known = new Set<string>();
    for (const part of parts) if (part.type === "call") known.add(part.id ?? "").add(this.saying(part));
    for (const item of this.items(members.get("tool_calls"))) {
      const call = this.call(item);
      // LangChain and Claude's agent SDK report a call as a block, and once more here.
      if (!known.has(call.id ?? this.saying(call))) parts.push(call);
    }
    if (!this.isNull(members.get("function_call"))) parts.push(this.call(members.get("function_call")!));
    const id = this.string(members.get("tool_call_id"));
    const name = this.string(members.get("name"));
    const normal = ROLES[role] ?? role;
    if (normal === "tool" && parts.every((part) => part.type !== "result")) {
      return { role: normal, name, parts: [{ type: "result", id, name, parts }] };
    }
    return { role: normal, name, parts };
  }

  content(node: JsonNode | undefined): Part[] {
    if (node === undefined || this.isNull(node)) return [];
    if (node.kind === "string") return textParts(stringAt(this.text, node));
    if (node.kind === "array") return this.items(node).flatMap((item) => this.block(item));
    if (node.kind === "object") return this.block(node);
    return [{ type: "json", label: null, node }];
  }

  block(node: JsonNode): Part[] {
    if (node.kind === "string") return textParts(stringAt(this.text, node));
    if (node.kind !== "object") return [{ type: "json", label: null, node }];
    const members = this.members(node);
    const type = this.string(members.get("type"));
    const text = this.string(members.get("text")) ?? this.string(members.get("content"));
    const id = this.string(members.get("tool_use_id")) ?? this.string(members.get("call_id")) ?? this.string(members.get("id"));
    const name = this.string(members.get("name"));
    const keyed = type === null ? this.keyed(members) : null;
    if (keyed !== null) return keyed;
    switch (type) {
      case "thinking":
      case "reasoning": {
        const thought = this.string(members.get("thinking")) ?? text;
        const summary = this.items(members.get("summary")).flatMap((one) => this.block(one));
        if (thought !== null) return [{ type: "thinking", text: thought }];
        return summary.map((one) => (one.type === "text" ? { type: "thinking", text: one.text } : one));
      }
      case "tool_use":
      case "tool_call":
      case "function_call":
      case "mcp_call":
        return [this.call(node)];
      case "tool_result":
      case "tool_call_response":
      case "function_call_output": {
        const inner = members.get("content") ?? members.get("output") ?? members.get("response") ?? members.get("result");
        return [{ type: "result", id, name, parts: this.content(inner) }];
      }
      case "media":
      case "image":
      case "image_url":
      case "input_image":
      case "input_audio":
      case "input_file":
      case "audio":
      case "video":
      case "file":
      case "document":
      case "blob":
        return [{ type: "media", label: type, node }];
      case "other":
        return [{ type: "json", label: null, node: members.get("value") ?? node }];
      default:
    }
    const isPlain = type === null || ["text", "input_text", "output_text", "summary_text", "refusal"].includes(type);
    if (text !== null && isPlain) return textParts(text);
    return [{ type: "json", label: type, node }];
  }

  /** A block without a type, by the member that it has: of Gemini and Bedrock. The others may be null. */
  private keyed(members: Map<string | number, JsonNode>): Part[] | null {
    const of = (...keys: string[]): JsonNode | undefined => keys.map((key) => members.get(key)).find((one) => !this.isNull(one));
    const call = of("functionCall", "function_call", "toolUse");
    if (call?.kind === "object") return [this.call(call)];
    const result = of("functionResponse", "function_response", "toolResult");
    if (result?.kind === "object") {
      const inner = this.members(result);
      const id = this.string(inner.get("toolUseId")) ?? this.string(inner.get("id"));
      const parts = this.content(inner.get("response") ?? inner.get("content"));
      return [{ type: "result", id, name: this.string(inner.get("name")), parts }];
    }
    const media = of("inlineData", "inline_data", "fileData", "file_data", "image", "document", "video");
    if (media?.kind === "object") return [{ type: "media", label: "media", node: media }];
    const data = members.size === 1 ? members.get("json") : undefined;
    return data === undefined ? null : [{ type: "json", label: null, node: data }];
  }

  /** What a call without an id is known by. */
  private saying({ name, text, node }: Call): string {
    return JSON.stringify([name, text ?? (node && this.text.slice(node.start, node.end))]);
  }

  call(node: JsonNode): Call {
    const outer = this.members(node);
    const inner = outer.get("function")?.kind === "object" ? this.members(outer.get("function")) : outer;
    const given = inner.get("arguments") ?? inner.get("input") ?? inner.get("args");
    const text = this.string(given);
    return {
      type: "call",
      name: this.string(inner.get("name")) ?? "call",
      id: this.string(outer.get("call_id")) ?? this.string(outer.get("id")) ?? this.string(outer.get("toolUseId")),
      node: given === undefined || given.kind === "string" ? null : given,
      text,
    };
  }
}

/** A message, read once it is shown or compared: of a long chat that is its end. */
class ReadLater implements Turn {
  readonly reader: Reader;
  readonly node: JsonNode;
  private found: Read | null = null;

  constructor(reader: Reader, node: JsonNode) {
    this.reader = reader;
    this.node = node;
  }

  /** What was sent; equal texts are equal turns. */
  get raw(): string {
    return this.source.slice(this.node.start, this.node.end);
  }

  get source(): string {
    return this.reader.text;
  }

  get role(): string {
    return this.turn.role;
  }

  get name(): string | null {
    return this.turn.name;
  }

  get parts(): Part[] {
    return this.turn.parts;
  }

  private get turn(): Read {
    this.found ??= this.read();
    return this.found;
  }

  private read(): Read {
    try {
      return this.reader.turn(this.node);
    } catch (error) {
      if (!(error instanceof NoChat)) throw error;
      return { role: "assistant", name: null, parts: [{ type: "json", label: null, node: this.node }] };
    }
  }
}

export function chatOf(text: string): Turn[] | null {
  try {
    return turnsOf(text, rootOf(text));
  } catch (error) {
    if (error instanceof NoChat || error instanceof NotJson) return null;
    throw error;
  }
}

function turnsOf(text: string, root: JsonNode): Turn[] | null {
  const reader = new Reader(text);
  const messages = reader.messages(root);
  if (messages === null) return null;
  if (messages.length > TURNS_MAX) return null;
  const turns: Turn[] = messages.map((message) => new ReadLater(reader, message));
  const members = reader.members(root);
  for (const key of SYSTEM) {
    const parts = reader.content(members.get(key));
    if (parts.length > 0) turns.unshift({ role: "system", name: null, parts, source: text });
  }
  return turns.every((turn) => turn.parts.length === 0) ? null : turns;
}

/**
 * Whether a turn is an empty message of a user after calls: PandaProbe's SDK takes the results of
 * tools out of the messages of Claude's agent SDK.
 */
export function standsForResult(turns: readonly Turn[], at: number): boolean {
  for (let place = at; place > 0; place--) {
    const { role, parts } = turns[place]!;
    if (role !== "user" || parts.length > 0) return false;
    if (turns[place - 1]!.parts.some((part) => part.type === "call")) return true;
  }
  return false;
}

/** The text that a payload mainly is: a string, or the one string of a small object. */
export function textOf(text: string): string | null {
  let root: JsonNode;
  try {
    root = rootOf(text);
  } catch {
    return text;
  }
  if (root.kind === "string") return stringAt(text, root);
  if (root.kind !== "object") return null;
  const members = childrenOf(text, root, 3).children;
  const [only] = members;
  return members.length === 1 && only?.kind === "string" ? stringAt(text, only) : null;
}

/** How many turns at the start two conversations share. */
export function sharedStart(before: readonly Turn[], now: readonly Turn[]): number {
  let shared = 0;
  const same = (a: Turn | undefined, b: Turn | undefined): boolean => {
    if (a === undefined || b === undefined) return false;
    if (a instanceof ReadLater && b instanceof ReadLater && a.raw === b.raw) return true;
    return plain(a) === plain(b);
  };
  while (same(before[shared], now[shared])) shared++;
  return shared;
}

/** With the texts of nodes: their places are the same for other texts, and others for the same ones. */
function plain({ role, parts, source }: Turn): string {
  return JSON.stringify([role, parts], (key, value) => (key === "node" && value !== null ? source.slice(value.start, value.end) : value));
}

/** Whether a text has marks of markdown that are worth drawing. */
export function looksLikeMarkdown(text: string): boolean {
  if (text.length > MARKDOWN_CHARS_MAX) return false;
  return /^(#{1,6} |[-*] |\d+\. |```|\|.*\|$|> )/m.test(text) || /\*\*[^*\n]+\*\*/.test(text);
}

const CHECKED_CHARS_MAX = 100_000; // a longer text is checked when it is opened

/** A string that holds JSON itself, by all its looks if it is long. */
export function innerJson(text: string): string | null {
  const [first, last] = [/^\s*(.)/s.exec(text.slice(0, 1000))?.[1], /(.)\s*$/s.exec(text.slice(-1000))?.[1]];
  if (!((first === "{" && last === "}") || (first === "[" && last === "]"))) return null;
  if (text.length > CHECKED_CHARS_MAX) return text;
  try {
    JSON.parse(text); // an index looks at its brackets alone
    return text;
  } catch {
    return null;
  }
}
