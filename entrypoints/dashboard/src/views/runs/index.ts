/** Runs and their metrics, in one file. */
import "../parts.ts";
export { Metric } from "../metrics/Metric.tsx";
export { Metrics } from "../metrics/Metrics.tsx";
export { NewRun } from "./NewRun.tsx";
export { Run } from "./Run.tsx";
export { Runs } from "./Runs.tsx";
