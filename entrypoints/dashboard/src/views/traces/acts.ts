/** What is done with many traces, in one file that is loaded when one of it is first opened. */
import "../parts.ts";
export { AddToDataset } from "../datasets/AddToDataset.tsx";
export { Exports } from "../data/Exports.tsx";
export { ScoreRun } from "../runs/ScoreRun.tsx";
