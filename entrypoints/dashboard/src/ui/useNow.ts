/** The time for what ends now, such as the last 24 hours, on a page that stays open. */
import { useEffect, useState } from "preact/hooks";

const MINUTE_MS = 60_000;
const RENEW_MS = 5 * MINUTE_MS;

/** If it `goesOn`, it does so every five minutes while the page is visible, and when it is seen again. `renew` makes it now. */
export function useNow(goesOn: boolean): [now: number, renew: () => void] {
  const [now, setNow] = useState(() => Date.now());
  const renew = (): void => setNow(Date.now());
  useEffect(() => {
    if (!goesOn) return;
    const goOn = (): void => {
      if (document.visibilityState !== "hidden") setNow((before) => (Date.now() - before < RENEW_MS ? before : Date.now()));
    };
    const timer = setInterval(goOn, MINUTE_MS); // not longer: a machine may have slept
    addEventListener("visibilitychange", goOn);
    return () => {
      clearInterval(timer);
      removeEventListener("visibilitychange", goOn);
    };
  }, [goesOn]);
  return [now, renew];
}
