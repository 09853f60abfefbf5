/** The time axis of a waterfall: round ticks, and long stretches without activity that are folded. */
import type { Tree } from "../tree.ts";

const STEPS = [1, 2, 5, 10];
const ROUND_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];
const DAY_S = 86_400;
const GAP_SHARE = 1 / 20; // of the whole time: shorter gaps are not folded
const FOLDED_SHARE = 1 / 40; // of the time that is left: how wide each folded gap is

const SECOND = 1e6; // µs

interface Gap {
  from: number; // µs
  to: number;
}

/** Round values, at most about `most`. With the length of a second, those above it are round times. */
export function ticks(from: number, to: number, most: number, second = Infinity): number[] {
  const span = to - from;
  if (!(span > 0)) return [from];
  const least = span / most;
  const unit = least > second * DAY_S ? second * DAY_S : 1;
  const power = unit * 10 ** Math.floor(Math.log10(least / unit));
  const step =
    unit === 1 && least > second
      ? ROUND_S.find((one) => one * second >= least)! * second
      : STEPS.find((factor) => power * factor >= least * (1 - 1e-9))! * power;
  const found: number[] = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

/** Long stretches in which no span without children ran. */
export function gapsOf(tree: Tree): Gap[] {
  const whole = tree.to - tree.from;
  const leaves = Int32Array.from({ length: tree.size }, (_, row) => row).filter((row) => tree.extent[row] === 1);
  leaves.sort((a, b) => tree.start[a]! - tree.start[b]!);
  const gaps: Gap[] = [];
  let until = tree.from;
  const add = (to: number): void => {
    if (to - until > whole * GAP_SHARE) gaps.push({ from: until, to });
  };
  for (const row of leaves) {
    add(tree.start[row]!);
    until = Math.max(until, tree.isOpen[row] === 1 ? tree.to : tree.end[row]!);
  }
  if (leaves.length > 0) add(tree.to);
  return gaps;
}

/** Maps instants to places of an axis on which gaps are narrow, and back. */
export class TimeScale {
  readonly gaps: readonly Gap[];
  private readonly width: number; // of a folded gap

  constructor(gaps: readonly Gap[], whole: { from: number; to: number }) {
    this.gaps = gaps;
    const left = whole.to - whole.from - gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
    this.width = Math.max(1, left * FOLDED_SHARE);
  }

  /** The share of a gap's time that is before `us`, at its folded width. */
  place(us: number): number {
    let removed = 0;
    for (const { from, to } of this.gaps) {
      if (us <= from) break;
      removed += (Math.min(us, to) - from) * (1 - this.width / (to - from));
    }
    return us - removed;
  }

  instant(place: number): number {
    let removed = 0;
    for (const { from, to } of this.gaps) {
      const start = from - removed;
      if (place <= start) break;
      const share = Math.min(1, (place - start) / this.width);
      if (share < 1) return from + share * (to - from);
      removed += to - from - this.width;
    }
    return place + removed;
  }

  /** Round instants outside of gaps, at most about `most`. */
  ticks(from: number, to: number, most: number): number[] {
    if (this.gaps.length === 0) return ticks(from, to, most, SECOND);
    const [low, high] = [this.place(from), this.place(to)];
    const step = (high - low) / most;
    const edges = [from, ...this.gaps.flatMap((gap) => [gap.from, gap.to]), to];
    const found: number[] = [];
    for (let at = 0; at < edges.length; at += 2) {
      const [start, end] = [Math.max(from, edges[at]!), Math.min(to, edges[at + 1]!)];
      if (end <= start) continue;
      const share = Math.max(1, Math.round((this.place(end) - this.place(start)) / step));
      for (const one of ticks(start, end, share, SECOND)) {
        const last = found.at(-1);
        if (last === undefined || this.place(one) - this.place(last) >= step * 0.8) found.push(one);
      }
    }
    return found;
  }
}
