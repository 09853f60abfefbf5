import "../../app.tsx"; // is loaded already; see main.tsx
export { Experiment } from "./Experiment.tsx";
export { Experiments } from "./Experiments.tsx";
export { Verdict } from "./Verdict.tsx";
