/** What is done with many traces, in one file that is loaded when one of it is first opened. */
export { Exports } from "./Exports.tsx";
export { ScoreRun } from "./ScoreRun.tsx";
