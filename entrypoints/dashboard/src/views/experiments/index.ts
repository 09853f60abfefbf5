/** Experiments, their datasets and comparisons of groups, in one file. */
import "../parts.ts";
import "../payload-parts.ts";
export { AddToDataset } from "../datasets/AddToDataset.tsx";
export { CompareGroups } from "../compare/CompareGroups.tsx";
export { Dataset } from "../datasets/Dataset.tsx";
export { Datasets } from "../datasets/Datasets.tsx";
export { Experiment } from "./Experiment.tsx";
export { Experiments } from "./Experiments.tsx";
export { Verdict } from "./Verdict.tsx";
