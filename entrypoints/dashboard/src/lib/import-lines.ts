/** Lines of an export in batches, as text: no number passes through a float. */
export const BATCH_LINES = 100;
const BATCH_CHARS = 4_000_000; // a longer line is sent alone

interface Batch {
  first: number; // the number of its first line, from 1
  body: string;
  chars: number; // read so far
}

/** The last line of an export vouches for the others by a member that isn't imported. */
const END = /,"export":\{[^{}]*\}\}\s*$/;

/** At the end, `isComplete` says whether the last line of the file confirmed it. */
export async function* batchesOf(parts: AsyncIterable<string>, state: { isComplete: boolean; lines: number }): AsyncGenerator<Batch> {
  let [rest, lines, size, read] = ["", [] as string[], 0, 0];
  const batch = (): Batch => {
    const made = { first: state.lines - lines.length + 1, body: `{"traces":[${lines.join(",")}]}`, chars: read };
    [lines, size] = [[], 0];
    return made;
  };
  const add = (line: string): void => {
    const text = line.trim();
    if (text === "") return;
    state.isComplete = END.test(text);
    lines.push(state.isComplete ? text.replace(END, "}") : text);
    state.lines += 1;
    size += text.length;
  };
  for await (const part of parts) {
    read += part.length;
    const whole = (rest + part).split("\n");
    rest = whole.pop() ?? "";
    for (const line of whole) {
      if (lines.length > 0 && size + line.length > BATCH_CHARS) yield batch();
      add(line);
      if (lines.length >= BATCH_LINES) yield batch();
    }
  }
  add(rest);
  if (lines.length > 0) yield batch();
}
