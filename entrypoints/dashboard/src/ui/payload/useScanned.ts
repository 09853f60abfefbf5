/** Whether a JSON text can be read without a pass over all of it; a long one is scanned in slices. */
import { useEffect, useState } from "preact/hooks";
import { isScanned, scanInSlices } from "../../lib/payload/json-scan.ts";

export function useScanned(text: string | null): boolean {
  const [, again] = useState(0);
  const isReady = text === null || isScanned(text);
  useEffect(() => {
    if (isReady) return;
    const stop = new AbortController();
    void scanInSlices(text, stop.signal).then((isDone) => isDone && again((n) => n + 1));
    return () => stop.abort();
  }, [text, isReady]);
  return isReady;
}
