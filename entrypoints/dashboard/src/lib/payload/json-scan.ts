/**
 * Where the containers of a long JSON text end, and where each thousandth of their items begins. One
 * scan in slices finds both; then nothing that is shown needs a pass over the whole text.
 */

export const SCANNED_FROM = 200_000; // characters: a shorter text is read without a scan
export const SLICE_STEPS = 100_000; // characters outside of strings, and quotes: below 10 ms
export const MARK = 1_000; // items from one mark to the next
const LONG = 2_000; // characters of a container that is remembered
const ENDS_MAX = 200_000; // containers that are remembered
const REMEMBERED_MAX = 40_000_000; // characters of remembered texts, the newest one aside

interface Scanned {
  ends: ReadonlyMap<number, number>; // by the start of a container
  marks: ReadonlyMap<number, readonly number[]>; // by the start: where items MARK, 2 MARK, … begin
}

const remembered = new Map<string, Scanned>();

export function scannedOf(text: string): Scanned | undefined {
  return text.length < SCANNED_FROM ? undefined : remembered.get(text);
}

export function isScanned(text: string): boolean {
  return text.length < SCANNED_FROM || remembered.has(text);
}

/** The scan; it pauses after each slice. Invalid JSON is remembered as far as it was read. */
export function* scan(text: string): Generator<void, Scanned> {
  const ends = new Map<number, number>();
  const marks = new Map<number, number[]>();
  const starts: number[] = [];
  const counts: number[] = [];
  let steps = 0;
  for (let at = 0; at < text.length; at++) {
    if (++steps >= SLICE_STEPS) {
      steps = 0;
      yield;
    }
    const code = text.charCodeAt(at);
    if (code === 34) {
      let quote = at;
      do {
        quote = text.indexOf('"', quote + 1);
        if (++steps >= SLICE_STEPS) {
          steps = 0;
          yield;
        }
      } while (quote >= 0 && isEscaped(text, quote));
      if (quote < 0) break;
      at = quote;
    } else if (code === 44) {
      const count = ++counts[counts.length - 1]!;
      if (count % MARK === 0) {
        const start = starts[starts.length - 1]!;
        const own = marks.get(start);
        if (own) own.push(at + 1);
        else marks.set(start, [at + 1]);
      }
    } else if (code === 91 || code === 123) {
      starts.push(at);
      counts.push(0);
    } else if ((code === 93 || code === 125) && starts.length > 0) {
      const start = starts.pop()!;
      counts.pop();
      if (at - start >= LONG && ends.size < ENDS_MAX) ends.set(start, at + 1);
    }
  }
  const found = { ends, marks };
  remembered.set(text, found);
  let total = 0;
  for (const one of remembered.keys()) total += one.length;
  for (const oldest of remembered.keys()) {
    if (total <= REMEMBERED_MAX || oldest === text) break;
    remembered.delete(oldest);
    total -= oldest.length;
  }
  return found;
}

function isEscaped(text: string, quote: number): boolean {
  let slashes = 0;
  while (text.charCodeAt(quote - 1 - slashes) === 92) slashes++;
  return slashes % 2 === 1;
}

/** Scans while the page goes on; false if it was stopped. */
export async function scanInSlices(text: string, signal: AbortSignal): Promise<boolean> {
  for (const _ of scan(text)) {
    await pause();
    if (signal.aborted) return false;
  }
  return true;
}

const channel = typeof MessageChannel === "undefined" ? null : new MessageChannel();

/** Lets the browser draw and take input before the work goes on. */
export function pause(): Promise<void> {
  const { scheduler } = globalThis as { scheduler?: { yield?: () => Promise<void> } };
  if (scheduler?.yield) return scheduler.yield();
  return new Promise((resolve) => {
    if (channel === null) return void setTimeout(resolve);
    channel.port1.addEventListener("message", () => resolve(), { once: true });
    channel.port1.start();
    channel.port2.postMessage(null);
  });
}
