/** Ticks of a time axis at round durations. */
const STEPS = [1, 2, 5];

export function ticks(from: number, to: number, most: number): number[] {
  const span = to - from;
  if (!(span > 0)) return [from];
  let step = 10 ** Math.floor(Math.log10(span / most));
  for (const factor of [...STEPS, 10, 20, 50, 100]) {
    if (span / (step * factor) <= most) {
      step *= factor;
      break;
    }
  }
  const found: number[] = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}
