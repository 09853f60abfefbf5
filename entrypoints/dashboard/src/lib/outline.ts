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
    extend(joined.span_id, columns.span_id);
    // A parent in a part that isn't here yet counts as not received.
    extend(joined.parent, columns.parent, (at) => (at < known ? at : -2));
    extend(joined.name, columns.name, (at) => name[at]!);
    extend(joined.kind, columns.kind, (at) => kind[at]!);
    extend(joined.status, columns.status, (at) => status[at]!);
    extend(joined.model, columns.model, (at) => (at === null ? null : model[at]!));
    extend(joined.start_us, columns.start_us);
    extend(joined.latency_us, columns.latency_us);
    extend(joined.first_token_us, columns.first_token_us);
    extend(joined.tokens, columns.tokens);
    extend(joined.cost, columns.cost);
    extend(joined.input_bytes, columns.input_bytes);
    extend(joined.output_bytes, columns.output_bytes);
    extend(joined.has_error, columns.has_error);
  }
  return joined;
}

/** `push(...)` of 50,000 values would overflow the stack. */
function extend<T>(list: T[], values: readonly T[], change: (value: T) => T = (value) => value): void {
  for (const value of values) list.push(change(value));
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
