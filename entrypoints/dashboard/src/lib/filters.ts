/** Filters of the list of traces: words that a person types, and parameters of the API. */
import type { SearchState, SpanKind, TraceStatus } from "../api/types.d.ts";
import type { Change } from "../url/state.ts";

export interface Field {
  word: string; // before the colon
  parameter: string;
  facet?: string; // whose values the service counts
  values?: readonly string[]; // all that there are, in capitals
  isOnly?: boolean; // one value, which can't be excluded
  hint: string;
}

const STATUSES: readonly TraceStatus[] = ["PENDING", "RUNNING", "COMPLETED", "ERROR"];
const KINDS: readonly SpanKind[] = ["AGENT", "LLM", "TOOL", "RETRIEVER", "CHAIN", "EMBEDDING", "OTHER"];

export const FIELDS: readonly Field[] = [
  { word: "status", parameter: "status", facet: "status", values: STATUSES, hint: "exactly this status" },
  { word: "name", parameter: "name", facet: "name", hint: "the name contains this text" },
  { word: "env", parameter: "environment", facet: "environment", hint: "exactly this environment" },
  { word: "release", parameter: "release", facet: "release", hint: "exactly this release" },
  { word: "model", parameter: "model", facet: "model", hint: "has a span with this model" },
  { word: "tag", parameter: "tags", facet: "tag", hint: "has any of these tags" },
  { word: "user", parameter: "user_id", facet: "user", hint: "exactly this user" },
  { word: "session", parameter: "session_id", facet: "session", hint: "exactly this session" },
  { word: "span", parameter: "span_name", facet: "span_name", hint: "has a span with exactly this name: a tool" },
  { word: "kind", parameter: "span_kind", facet: "span_kind", values: KINDS, hint: "has a span of this kind" },
  { word: "score", parameter: "score", facet: "score", hint: "has this score: score:helpful<0.5, score:helpful=failed" },
  { word: "text", parameter: "query", isOnly: true, hint: 'all of these words are in its texts: text:"tracking number" refund' },
];

/** Why words in texts don't choose traces for exports and runs. */
export const TEXT_HINT = "text: finds traces one page at a time. Select some, or drop it";

export const OTHER_WORDS = [
  { text: "name=", hint: "exactly this name: name=plan" },
  { text: "failed", hint: "the trace or one of its spans failed" },
  { text: "ok", hint: "nothing failed" },
  { text: "latency>", hint: "took at least this long: latency>2s" },
  { text: "latency<", hint: "took at most this long: latency<500ms" },
  { text: "cost>", hint: "costs at least this many USD: cost>0.5" },
  { text: "tokens>", hint: "has at least so many tokens: tokens>5000" },
  { text: "spans>", hint: "has at least so many spans: spans>100" },
  { text: "meta.", hint: "a key of the metadata: meta.customer:acme" },
] as const;

const NOT = "not_"; // before a parameter: it excludes
const NAMES = "names"; // whole names, of which `name=` gives one
const MEMBER = /^(?:not_)?metadata\./;

/** `-env:prod` and `env!=prod` exclude. */
function signOf(text: string): { isExcluded: boolean; rest: string } {
  const rest = text.trimStart();
  if (rest.startsWith("-")) return { isExcluded: true, rest: rest.slice(1).trimStart() };
  const found = /^(\w+|meta\.[^:!=]+?)\s*!=(.*)$/is.exec(rest);
  return found ? { isExcluded: true, rest: `${found[1]}:${found[2]}` } : { isExcluded: false, rest };
}

/** Filters by a value, or excludes it: never both. */
export function filterBy(params: URLSearchParams, parameter: string, value: string, isExcluded = false): Change {
  const [to, from] = isExcluded ? [NOT + parameter, parameter] : [parameter, NOT + parameter];
  const isList = isExcluded || parameter === "tags";
  const isOfScore = parameter === "score" && (!isExcluded || params.get("score") === value); // so are its bounds
  return {
    ...(isOfScore && NO_SCORE),
    [to]: isList ? [...new Set([...params.getAll(to), value])] : value,
    ...without(params, from, value),
  };
}

function without(params: URLSearchParams, name: string, value: string): Change {
  const rest = params.getAll(name).filter((one) => one !== value);
  return { [name]: rest.length > 0 ? rest : null };
}

/** What the service is asked for while a filter is typed, and what stands around each answer. */
export interface Completion {
  field: string;
  key?: string;
  prefix: string;
  before: string;
  after: string;
}

/** The filters under which the values of a facet are counted: all but those of its own field. */
export function otherFilters(params: URLSearchParams, completion: Completion, now: number): Record<string, unknown> {
  const { query: _words, ...others } = filterQuery(params);
  const start = periodStart(params.get("period"), now);
  if (start !== null) others["started_after"] = start;
  const own = completion.key === undefined ? FIELDS.find((one) => one.facet === completion.field)?.parameter : `metadata.${completion.key}`;
  if (own !== undefined) delete others[own];
  if (own === "name") delete others[NAMES];
  return others;
}

/** Null while the word before the colon is typed. */
export function completionOf(typed: string): Completion | null {
  const { isExcluded, rest: text } = signOf(typed);
  const sign = isExcluded ? "-" : "";
  const meta = /^meta\.([^:]*)(?::(.*))?$/is.exec(text);
  if (meta) {
    const [, key = "", value] = meta;
    if (value === undefined) return { field: "metadata_key", prefix: key, before: `${sign}meta.`, after: ":" };
    return { field: "metadata_value", key, prefix: value.trim(), before: `${sign}meta.${key}:`, after: "" };
  }
  const at = /^name\s*=/i.exec(text)?.[0].length ?? text.indexOf(":") + 1;
  const field = FIELDS.find((one) => one.word === text.slice(0, at).toLowerCase().replace(/\s*.$/, ""));
  if (field?.facet === undefined) return null;
  const prefix = upper(field, text.slice(at).trim());
  // The number next to a name is that of the traces with this whole name.
  return { field: field.facet, prefix, before: `${sign}${field.word}${field.word === "name" && !isExcluded ? "=" : ":"}`, after: "" };
}

/** Values of the service that are in capitals may be typed in small letters. */
function upper(field: Field, value: string): string {
  return field.values ? value.toUpperCase() : value;
}

const UNITS: Record<string, number> = { "": 1, ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000 };

/** What is looked for among the spans of a trace: words, and with `>500ms` a least duration. */
export function parseFind(text: string): { words: string; minUs: number } {
  let minUs = 0;
  const words = text.replace(/(?:^|\s)>=?([0-9.]+)(ms|s|min|m|h)?(?=\s|$)/gi, (all, digits: string, unit: string | undefined) => {
    const value = Number(digits) * (UNITS[(unit ?? "").toLowerCase()] ?? NaN) * 1000;
    if (!Number.isFinite(value)) return all;
    minUs = Math.max(minUs, value);
    return " ";
  });
  return { words: words.trim().toLowerCase(), minUs };
}

/** The query of a search for words that are being typed: the last one may go on. Empty: none. */
export function searchFor(words: string): string {
  if (!/[\p{L}\p{N}]{2}/u.test(words)) return "";
  const isPhrase = (words.split('"').length - 1) % 2 === 1;
  if (isPhrase) return `${words}"`;
  return /[\p{L}\p{N}]{3}$/u.test(words) ? `${words}*` : words;
}

interface FoundPage {
  next_cursor: string | null;
  search?: SearchState;
}

/** What the pages of a search leave out, and whether the next page goes on; null if they are complete. */
export function searchNote(pages: readonly FoundPage[], instant: (at: string) => string): { text: string; goesOn: boolean } | null {
  const partial = pages.filter(({ search }) => search?.is_complete === false).at(-1);
  if (!partial) return null;
  if (partial === pages.at(-1) && partial.next_cursor !== null) {
    return { text: "This search isn’t complete: it stopped at a limit. Older traces may match too; rarer words find them sooner.", goesOn: true };
  }
  const known = instant(partial.search!.indexed_until);
  return { text: `This search may have missed traces: those with more than 256 MiB of payloads, and some written after ${known} if the index is far behind.`, goesOn: false };
}

type Parsed = { change: Change } | { problem: string };

const LEAST: Record<string, string> = { cost: "min_cost", tokens: "min_tokens", spans: "min_span_count" };

/** What one typed filter means. A word without a field is a part of the name. */
export function parse(text: string, params: URLSearchParams): Parsed {
  const { isExcluded, rest } = signOf(text);
  const word = rest.trim();
  const change = (parameter: string, value: string): Parsed => ({ change: filterBy(params, parameter, value, isExcluded) });
  const whole = /^name\s*=\s*(.+)$/is.exec(word)?.[1];
  if (whole !== undefined) return isExcluded ? { problem: "Only a part of a name can be excluded: -name:test" } : { change: byName(unquote(whole)) };
  const at = word.indexOf(":");
  const field = at > 0 ? FIELDS.find((one) => one.word === word.slice(0, at).toLowerCase()) : undefined;
  if (isExcluded && (field?.isOnly || /^(failed$|ok$|(latency|cost|tokens|spans)\b)/i.test(word))) return { problem: "Only values can be excluded: -env:staging, -tag:test" };
  if (word === "failed" || word === "ok") return { change: { has_error: String(word === "failed") } };
  const latency = /^latency\s*([<>])=?\s*([0-9.]+)\s*([a-z]*)$/i.exec(word);
  if (latency) {
    const [, sign, digits, unit] = latency;
    const factor = UNITS[(unit ?? "").toLowerCase()];
    const value = Number(digits) * (factor ?? NaN);
    if (!Number.isFinite(value)) return { problem: "A latency is for example 500ms, 2s or 1min" };
    return { change: { [sign === ">" ? "min_latency_ms" : "max_latency_ms"]: String(value) } };
  }
  const least = /^(cost|tokens|spans)\s*>=?\s*\$?([0-9.]+)$/i.exec(word);
  if (least) return { change: { [LEAST[least[1]!.toLowerCase()]!]: String(Number(least[2])) } };
  const meta = /^meta\.([^:]+):(.*)$/s.exec(word);
  if (meta) {
    const value = meta[2]!.trim();
    return value === "" ? { problem: `Write a value after meta.${meta[1]}:` } : change(`metadata.${meta[1]}`, unquote(value));
  }
  if (!field) {
    if (/^(latency|meta)\b/i.test(word)) return { problem: "Write latency>2s or meta.key:value" };
    return unquote(word) === "" ? { change: { name: null } } : change("name", unquote(word));
  }
  if (field.parameter === "query" && word.length > at + 1) return { change: { query: word.slice(at + 1).trim() } }; // quotes mean a phrase
  const given = word.slice(at + 1).trim();
  const score = field.parameter === "score" && /^(.+?)\s*(?:([<>]=?)\s*(0?\.\d+|[01](?:\.0*)?)|=\s*(scored|failed|skipped))$/s.exec(given);
  const value = unquote(score ? score[1]! : given);
  if (given === "") return { problem: `Write a value after ${field.word}:` };
  if (field.parameter === "score" && (score || !isExcluded)) {
    if (isExcluded) return { problem: "Only a score as a whole can be excluded: -score:helpful" };
    if (!score && value === given && /[<>=]/.test(value)) return { problem: "A score is from 0 to 1: score:helpful<0.5, or score:helpful=failed" };
    const [, , sign, number, outcome] = score || [];
    const known = params.get("score") === value && !outcome ? { score_outcome: null } : NO_SCORE;
    if ((sign === "<" && Number(number) === 0) || (sign === ">" && Number(number) === 1)) return { problem: `No score is ${sign} ${number}: scores are from 0 to 1` };
    const bound = sign && boundOf(sign, Number(number));
    const rest = params.has("not_score") && without(params, "not_score", value);
    return { change: { ...known, ...rest, score: value, ...bound, ...(outcome && { score_outcome: outcome }) } };
  }
  const known = upper(field, value);
  if (field.values?.includes(known) === false) return { problem: `After ${field.word}: write one of ${field.values.join(", ")}` };
  return change(field.parameter, known);
}

/** Filters by a whole name. */
export function byName(name: string): Change {
  return { [NAMES]: [name], name: null };
}

const NO_SCORE: Change = { score: null, score_min: null, score_max: null, score_outcome: null };

/** A value as it is shown and typed: in quotes if it is empty, or if spaces or quotes are around it. */
export function shownValue(text: string): string {
  return text === "" || text !== text.trim() || unquote(text) !== text ? `"${text}"` : text;
}

function unquote(text: string): string {
  return /^".*"$/s.test(text) && text.length > 1 ? text.slice(1, -1) : text;
}

const SHORT = 12; // digits: a bound of more is the number below a short one

/** The greatest bound of scores below a number: the service's bounds are inclusive. */
export function scoreBelow(value: number): string {
  return String(value * (1 - 2 ** -53));
}

/** The least number above one, which is below 1. */
export function scoreAbove(value: number): string {
  if (value === 0) return String(Number.MIN_VALUE);
  const near = value + value * 2 ** -53; // of a power of two it is rounded to that
  return String(near > value ? near : value + value * 2 ** -52);
}

/** `<` and `>` leave the number itself out: a score of 0.5 passes a threshold of 0.5. */
function boundOf(sign: string, value: number): Change {
  if (sign.startsWith("<")) return { score_max: sign === "<" ? scoreBelow(value) : String(value) };
  return { score_min: sign === ">" ? scoreAbove(value) : String(value) };
}

/** Parameters with a bound, and what stands before it. */
const BOUNDS: Record<string, string> = {
  score_min: "score ≥ ",
  score_max: "score ≤ ",
  score_outcome: "score ",
  min_latency_ms: "latency ≥ ",
  max_latency_ms: "latency ≤ ",
  min_cost: "cost ≥ $",
  min_tokens: "tokens ≥ ",
  min_span_count: "spans ≥ ",
};

/** A bound of scores that `scoreBelow` or `scoreAbove` made; null for any other. */
function strictText(name: string, value: string): string | null {
  if (name === "score_min" && value === scoreAbove(0)) return "score > 0";
  if (!name.startsWith("score_m") || value.length <= SHORT) return null;
  return `score ${name === "score_max" ? "<" : ">"} ${Number(Number(value).toPrecision(SHORT))}`;
}

export interface Chip {
  label: string;
  drop: Change;
  opposite?: { label: string; change: Change }; // excludes instead, or the other way round
}

/** The filters of an address, in words. */
export function chips(params: URLSearchParams, duration: (ms: number) => string): Chip[] {
  const found: Chip[] = [];
  const add = (word: string, parameter: string, isOnly?: boolean): void => {
    for (const isExcluded of [false, true]) {
      const name = isExcluded ? NOT + parameter : parameter;
      for (const value of params.getAll(name)) {
        const label = `${word}: ${shownValue(value)}`;
        found.push({
          label: isExcluded ? `not ${label}` : label,
          drop: name === "score" ? NO_SCORE : without(params, name, value),
          ...(isOnly ? {} : { opposite: { label: isExcluded ? `Filter by ${label}` : `Exclude ${label}`, change: filterBy(params, parameter, value, !isExcluded) } }),
        });
      }
    }
  };
  for (const { word, parameter, isOnly } of FIELDS) add(word, parameter, isOnly);
  for (const name of params.getAll(NAMES)) found.push({ label: `name = ${shownValue(name)}`, drop: without(params, NAMES, name) });
  const failed = params.get("has_error");
  if (failed !== null) found.push({ label: failed === "true" ? "failed" : "ok", drop: { has_error: null } });
  for (const [name, shown] of Object.entries(BOUNDS)) {
    const value = params.get(name);
    if (value === null) continue;
    const label = strictText(name, value) ?? shown + (name.endsWith("_ms") ? duration(Number(value)) : value);
    found.push({ label, drop: { [name]: null } });
  }
  const members = [...params.keys()].filter((name) => MEMBER.test(name)).map((name) => name.replace(MEMBER, ""));
  for (const key of new Set(members)) add(`meta.${key}`, `metadata.${key}`);
  return found;
}

const FILTERS = [
  ...FIELDS.flatMap(({ parameter, isOnly }) => (isOnly ? [parameter] : [parameter, NOT + parameter])),
  ...Object.keys(BOUNDS),
  NAMES,
  "has_error",
  "started_after",
  "started_before",
];

const TEXTS = FIELDS.filter(({ values, isOnly }) => values === undefined && isOnly !== true).map((one) => one.parameter);

function hasMany(name: string): boolean {
  return name === "tags" || name === NAMES || name.startsWith(NOT);
}

/** The parameters of an address that filter, as the API takes them. Texts are in lists, since they may be empty. */
export function filterQuery(params: URLSearchParams): Record<string, unknown> {
  const query: Record<string, unknown> = {};
  for (const name of FILTERS) {
    const values = params.getAll(name);
    if (values.length > 0) query[name] = hasMany(name) ? values : TEXTS.includes(name) ? [values[0]] : values[0];
  }
  for (const name of new Set(params.keys())) {
    if (MEMBER.test(name)) query[name] = params.getAll(name);
  }
  return query;
}

const NO_FILTERS: Change = Object.fromEntries(FILTERS.map((name) => [name, null]));

export function withoutFilters(params: URLSearchParams): Change {
  const metadata = [...params.keys()].filter((name) => MEMBER.test(name));
  return { ...NO_FILTERS, ...Object.fromEntries(metadata.map((name) => [name, null])), period: null };
}

export const PERIODS = [
  { id: "1h", label: "1 h", ms: 3_600_000 },
  { id: "24h", label: "24 h", ms: 86_400_000 },
  { id: "7d", label: "7 days", ms: 7 * 86_400_000 },
  { id: "30d", label: "30 days", ms: 30 * 86_400_000 },
] as const;

/** The start of the chosen period, by whole minutes, so that equal questions stay equal. */
export function periodStart(period: string | null, now: number): string | null {
  const found = PERIODS.find((one) => one.id === period);
  if (!found) return null;
  return new Date(Math.floor((now - found.ms) / 60_000) * 60_000).toISOString();
}

/** The filters of an address as the body of an export or a run has them. */
export function filterBody(params: URLSearchParams, now: number): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  const start = periodStart(params.get("period"), now);
  if (start !== null) body.started_after = start;
  for (const [name, value] of Object.entries(filterQuery(params))) {
    if (MEMBER.test(name)) {
      const [of, key] = [name.slice(0, name.indexOf(".")), name.replace(MEMBER, "")];
      body[of] = { ...(body[of] as object | undefined), [key]: value };
    } else if (name === "query") continue; // see TEXT_HINT
    else if (name === "has_error") body[name] = value === "true";
    else body[name] = name in BOUNDS && name !== "score_outcome" ? Number(value) : Array.isArray(value) && !hasMany(name) ? value[0] : value;
  }
  return body;
}

/** The filters of a list with that of failed traces: a failed span alone isn't a failed trace. */
export function failedOf(filters: string): string {
  const params = new URLSearchParams(filters);
  params.set("status", "ERROR");
  return String(params);
}
