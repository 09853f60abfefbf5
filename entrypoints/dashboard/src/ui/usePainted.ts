/** Puts off what the first look at a view doesn't need. */
import { useEffect, useState } from "preact/hooks";

const LATER_MS = 50; // after the frame

/** Whether what is drawn once `isThere` has been painted. */
export function usePainted(isThere: boolean): boolean {
  const [isPainted, setPainted] = useState(false);
  useEffect(() => {
    if (!isThere) return;
    const timer = setTimeout(() => setPainted(true), LATER_MS); // effects run after a frame
    return () => clearTimeout(timer);
  }, [isThere]);
  return isPainted;
}
