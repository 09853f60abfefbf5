/** The parts of an address that its pattern names, decoded. */
export type Params = Readonly<Record<string, string>>;

/** The router keeps `%2F` in its parameters, so each segment is decoded here, once. */
export function paramsOf(pattern: string, path: string): Params {
  const segments = path.split("/");
  const named = pattern.split("/").flatMap((part, at) => (part.startsWith(":") ? [[part.slice(1), decoded(segments[at] ?? "")]] : []));
  return Object.fromEntries(named);
}

/** What can't be decoded, as a link that was cut, stays as it is: no page has that address. */
export function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
