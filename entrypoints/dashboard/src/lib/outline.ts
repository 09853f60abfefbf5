/** The outline of a trace, of as many parts as the service sends it in. */
import type { OutlineResponse } from "../api/types.d.ts";

/** Columns are those of the service, joined over all parts; indexes of words are of these lists. */
export interface TraceOutline {
  trace: OutlineResponse["trace"];
  total: number;
  revision: string;
  names: string[];
  models: string[];
  kinds: string[];
  statuses: string[];
  span_id: string[];
  parent: number[];
  name: number[];
  kind: number[];
  status: number[];
  model: (number | null)[];
  start_us: number[];
  latency_us: (number | null)[];
  first_token_us: (number | null)[];
  tokens: number[];
  cost: (number | null)[];
  input_bytes: (number | null)[];
  output_bytes: (number | null)[];
  has_error: boolean[];
}

export function joinOutline(parts: readonly OutlineResponse[]): TraceOutline {
  const last = parts.at(-1)!;
  const words = { names: new Words(), models: new Words(), kinds: new Words(), statuses: new Words() };
  const joined: TraceOutline = {
    trace: last.trace,
    total: last.total_spans,
    revision: last.revision,
    names: words.names.list,
    models: words.models.list,
    kinds: words.kinds.list,
    statuses: words.statuses.list,
    span_id: [],
    parent: [],
    name: [],
    kind: [],
    status: [],
    model: [],
    start_us: [],
    latency_us: [],
    first_token_us: [],
    tokens: [],
    cost: [],
    input_bytes: [],
    output_bytes: [],
    has_error: [],
  };
  const known = parts.reduce((sum, part) => sum + part.columns.span_id.length, 0);
  for (const part of parts) {
    const columns = part.columns;
    const name = words.names.add(part.names);
    const kind = words.kinds.add(part.kinds);
    const status = words.statuses.add(part.statuses);
    const model = words.models.add(part.models);
    // A parent in a part that isn't here yet counts as not received.
    const parent = columns.parent.some((at) => at >= known) ? columns.parent.map((at) => (at < known ? at : -2)) : columns.parent;
    joined.span_id = joined.span_id.concat(columns.span_id);
    joined.parent = joined.parent.concat(parent);
    joined.name = joined.name.concat(renamed(columns.name, name));
    joined.kind = joined.kind.concat(renamed(columns.kind, kind));
    joined.status = joined.status.concat(renamed(columns.status, status));
    joined.model = joined.model.concat(renamed(columns.model, model));
    joined.start_us = joined.start_us.concat(columns.start_us);
    joined.latency_us = joined.latency_us.concat(columns.latency_us);
    joined.first_token_us = joined.first_token_us.concat(columns.first_token_us);
    joined.tokens = joined.tokens.concat(columns.tokens);
    joined.cost = joined.cost.concat(columns.cost);
    joined.input_bytes = joined.input_bytes.concat(columns.input_bytes);
    joined.output_bytes = joined.output_bytes.concat(columns.output_bytes);
    joined.has_error = joined.has_error.concat(columns.has_error);
  }
  return joined;
}

/** The indexes of words in the joined list; those of the first part are the same there. */
function renamed<T extends number | null>(indexes: readonly T[], words: readonly number[]): readonly T[] {
  return words.every((word, at) => word === at) ? indexes : indexes.map((at) => (at === null ? at : (words[at]! as T)));
}

class Words {
  readonly list: string[] = [];
  private readonly known = new Map<string, number>();

  /** The indexes of these words in the joined list. */
  add(words: readonly string[]): number[] {
    return words.map((word) => {
      let at = this.known.get(word);
      if (at === undefined) {
        at = this.list.length;
        this.list.push(word);
        this.known.set(word, at);
      }
      return at;
    });
  }
}
