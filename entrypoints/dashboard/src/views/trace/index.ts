/** A trace, also by a public link, in one file. */
import "../parts.ts";
import "../payload-parts.ts";
export { Shared } from "../shared/Shared.tsx";
export { Trace } from "./Trace.tsx";
