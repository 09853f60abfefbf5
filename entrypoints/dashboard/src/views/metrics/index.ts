/** The views of metrics, in one file that is loaded when one of them is first opened. */
import "../../app.tsx"; // is loaded already; see main.tsx
export { Metric } from "./Metric.tsx";
export { Metrics } from "./Metrics.tsx";
