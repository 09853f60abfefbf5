/** Where items of different heights begin. */

/** Of each item, and at the end the height of all. */
export function offsetsOf(heights: readonly number[]): Float64Array {
  const offsets = new Float64Array(heights.length + 1);
  heights.forEach((height, at) => (offsets[at + 1] = offsets[at]! + height));
  return offsets;
}

/** The item at a distance from the top; the first or the last one if none is there. */
export function itemAt(offsets: Float64Array, distance: number): number {
  let [low, high] = [0, Math.max(0, offsets.length - 2)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (offsets[middle]! <= distance) low = middle;
    else high = middle - 1;
  }
  return low;
}
