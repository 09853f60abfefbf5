/** The views of runs, in one file that is loaded when one of them is first opened. */
import "../../app.tsx"; // is loaded already; see main.tsx
export { NewRun } from "./NewRun.tsx";
export { Run } from "./Run.tsx";
export { Runs } from "./Runs.tsx";
