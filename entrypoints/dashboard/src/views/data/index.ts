import "../../app.tsx"; // is loaded already; see main.tsx
export { Data } from "./Data.tsx";
