/** Definitions of custom metrics: what a form shows of each kind, and the JSON that it makes. */

export type Kind = "judge" | "rule" | "measured";
export type Definition = Record<string, unknown>;

export const KINDS: readonly { kind: Kind; label: string; hint: string }[] = [
  { kind: "judge", label: "A criterion for a judge", hint: "A judge reads the trace and gives one of six labels, or checks each tool call." },
  { kind: "rule", label: "A rule over the trace", hint: "1 if the conditions hold, else 0. It asks no judge." },
  { kind: "measured", label: "A measure with parameters", hint: "Computed from the trace, such as latency against a target. It asks no judge." },
];

export const EMPTY: Record<Kind, Definition> = {
  judge: { criterion: "", anchors: ["", "", "", "", "", ""] },
  rule: { all: [{ path: "answer", op: "exists" }] },
  measured: { type: "latency_slo", parameters: { target_ms: 2000 } },
};

export const ANCHORS = { scale: 6, checklist: 2 } as const;

export const PARTS = ["task", "final_output", "expected", "status", "facts", "tools", "plan", "steps"] as const;

export const OPERATORS = ["eq", "ne", "lt", "le", "gt", "ge", "in", "contains", "matches", "not_matches", "exists"] as const;

export interface Condition {
  path: string;
  op: string;
  value?: unknown;
  over?: string;
}

interface FlatRule {
  join: "all" | "any" | "none";
  conditions: Condition[];
}

const JOINS = ["all", "any", "none"] as const;
const MEMBERS = new Set(["path", "op", "value", "over"]);

/** The rule as one list of conditions; null if it has others inside, which a form doesn't show. */
export function flatRule(rule: Definition): FlatRule | null {
  if (isCondition(rule)) return { join: "all", conditions: [rule] };
  const join = JOINS.find((one) => one in rule);
  if (join === undefined || Object.keys(rule).length !== 1 || !Array.isArray(rule[join])) return null;
  const conditions = rule[join] as unknown[];
  return conditions.every(isCondition) ? { join, conditions: conditions as Condition[] } : null;
}

function isCondition(value: unknown): value is Definition & Condition {
  return typeof value === "object" && value !== null && "path" in value && "op" in value && Object.keys(value).every((name) => MEMBERS.has(name));
}

/** What a person typed as a value: JSON if it is, else a text. */
export function typedValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export function valueText(value: unknown): string {
  if (value === undefined) return "";
  // A text that reads as JSON keeps its quotation marks, so that it stays a text.
  return typeof value === "string" && typedValue(value) === value ? value : JSON.stringify(value);
}

export interface Parameter {
  name: string;
  as: "number" | "text" | "json" | readonly string[];
  hint?: string;
  isOptional?: boolean;
}

const LIMIT = (name: string, hard: string): Parameter[] => [
  { name, as: "number" },
  { name: hard, as: "number", isOptional: true, hint: "0 from here on; else at twice the target" },
];
const EXPECTED: Parameter[] = [
  { name: "expected", as: "json", isOptional: true },
  { name: "expected_from", as: ["item"], isOptional: true, hint: "the item of a dataset whose result the trace is" },
];

/** The measures and their parameters. */
export const MEASURES: Record<string, readonly Parameter[]> = {
  latency_slo: LIMIT("target_ms", "hard_ms"),
  ttft_slo: LIMIT("target_ms", "hard_ms"),
  cost_budget: LIMIT("usd", "hard_usd"),
  token_budget: LIMIT("tokens", "hard_tokens"),
  step_budget: [
    { name: "max_calls", as: "number", isOptional: true },
    { name: "max_llm", as: "number", isOptional: true },
  ],
  json_valid: [],
  json_equality: EXPECTED,
  json_schema: [{ name: "schema", as: "json" }],
  numeric_tolerance: [...EXPECTED, { name: "absolute", as: "number", isOptional: true }, { name: "relative", as: "number", isOptional: true }],
  text_match: [
    { name: "op", as: ["equals", "contains", "starts_with", "ends_with", "matches"] },
    { name: "value", as: "text", isOptional: true },
    { name: "expected_from", as: ["item"], isOptional: true },
    { name: "path", as: "text", isOptional: true, hint: "answer, unless another path is given" },
  ],
  levenshtein: EXPECTED,
  language_match: [{ name: "language", as: "text", hint: "such as en, or same_as_input" }],
  tool_permission: [
    { name: "allow", as: "json", isOptional: true, hint: "a list of names" },
    { name: "deny", as: "json", isOptional: true, hint: "a list of names" },
  ],
  trajectory_match: [
    ...EXPECTED,
    { name: "mode", as: ["strict", "unordered", "superset", "subset"], isOptional: true },
    { name: "arg_mode", as: ["ignore", "exact", "subset"], isOptional: true },
  ],
  secret_leak: [{ name: "path", as: "text", isOptional: true, hint: "answer, unless another path is given" }],
  pii_leak: [
    { name: "path", as: "text", isOptional: true, hint: "answer, unless another path is given" },
    { name: "kinds", as: "json", isOptional: true, hint: "a list of email, phone, card" },
  ],
};

/** The definition with a parameter, or without one that is empty. */
export function withParameter(definition: Definition, { name, as }: Parameter, text: string): Definition {
  const parameters = { ...(definition.parameters as Definition | undefined) };
  if (text === "") delete parameters[name];
  else parameters[name] = as === "number" ? Number(text) : as === "json" ? typedValue(text) : text;
  return { ...definition, parameters };
}

/** JSON with its members in one order, so that revisions are compared by what they say. */
export function definitionText(value: unknown): string {
  return JSON.stringify(sorted(value), null, 2);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)).map(([name, inner]) => [name, sorted(inner)]));
}
