/** `Shift+C` copies what a view asks the service: for a terminal, without a secret. */
import { curl, type Query } from "../api/client.ts";
import { project } from "../api/session.ts";
import { useCommands } from "../lib/keys.ts";
import { copy } from "./basics.tsx";

type Paths = string | readonly string[];

/** `what` is in the answer, such as "the list". With a `body` it is a POST. Without a path there is no command. */
export function useCurl(group: string, what: string, paths: Paths | null, query: Query = {}, body?: unknown): void {
  useCommands(paths === null ? [] : [{ keys: "Shift+c", label: `Copy ${what} as curl`, group, run: () => copyCurl(paths, query, body) }]);
}

export function copyCurl(paths: Paths, query: Query = {}, body?: unknown): void {
  const commands = [paths].flat().map((path) => curl(path, query, project.value?.name ?? "", body));
  void copy(commands.join("\n"), "Copied as curl");
}
