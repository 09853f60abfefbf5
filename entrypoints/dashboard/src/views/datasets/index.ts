import "../../app.tsx"; // is loaded already; see main.tsx
export { Dataset } from "./Dataset.tsx";
export { Datasets } from "./Datasets.tsx";
