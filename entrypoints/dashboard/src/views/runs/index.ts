/** Runs and their metrics, in one file. */
import "../parts.ts";
import "../payload-parts.ts";
import "./ScoreRun.tsx"; // shared with the list of traces: one file with the form of runs
export { Metric } from "../metrics/Metric.tsx";
export { Metrics } from "../metrics/Metrics.tsx";
export { NewRun } from "./NewRun.tsx";
export { Run } from "./Run.tsx";
export { Runs } from "./Runs.tsx";
