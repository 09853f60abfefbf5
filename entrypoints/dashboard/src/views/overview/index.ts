/** The overview, in a file of its own: it is loaded when it is first opened. */
import "../../app.tsx"; // is loaded already; see main.tsx
export { Overview } from "./Overview.tsx";
export { Usage } from "../usage/Usage.tsx";
