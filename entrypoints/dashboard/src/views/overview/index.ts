/** The overview, in a file of its own: it is loaded when it is first opened. */
import "../parts.ts";
export { Overview } from "./Overview.tsx";
export { Usage } from "../usage/Usage.tsx";
