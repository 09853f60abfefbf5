/** The parts of an address that its pattern names, decoded. */
export type Params = Readonly<Record<string, string>>;

/** The router keeps `%2F` in its parameters, so each segment is decoded here, once. */
export function paramsOf(pattern: string, path: string): Params {
  const segments = path.split("/");
  const named = pattern.split("/").flatMap((part, at) => (part.startsWith(":") ? [[part.slice(1), decodeURIComponent(segments[at] ?? "")]] : []));
  return Object.fromEntries(named);
}
