/** The labelling queue, in a file of its own. */
import "../../app.tsx"; // is loaded already; see main.tsx
export { Label } from "./Label.tsx";
