/** Lists whose payloads are shown digit by digit. */
import { childOf, childrenOf, rootOf } from "../lib/payload/json-index.ts";
import { requestText, type Query } from "./client.ts";

/** A page in which these fields of items are the text that was sent: no number passes through a float. */
export async function readVerbatim<T>(path: string, query: Query, fields: readonly string[], signal: AbortSignal): Promise<T> {
  const text = await requestText(path, query, signal);
  const page = JSON.parse(text) as { items: Record<string, unknown>[] };
  const list = childOf(text, rootOf(text), "items");
  const nodes = list ? childrenOf(text, list).children : [];
  page.items.forEach((item, at) => {
    for (const field of fields) {
      const node = item[field] === null ? undefined : childOf(text, nodes[at], field);
      if (node) item[field] = text.slice(node.start, node.end);
    }
  });
  return page as T;
}
