/** The labelling queue, in a file of its own. */
import "../parts.ts";
export { Label } from "./Label.tsx";
