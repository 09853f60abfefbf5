/** Puts off what follows from typing. */
import { useEffect, useState } from "preact/hooks";

const SETTLE_MS = 400;

/** The value once it has not changed for a moment. */
export function useSettled(value: string): string {
  const [settled, settle] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => settle(value), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
