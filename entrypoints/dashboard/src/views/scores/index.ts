/** Scores and the labelling queue, in one file. */
import "../parts.ts";
import "../payload-parts.ts";
export { Label } from "../label/Label.tsx";
export { OneScore } from "./OneScore.tsx";
export { AllScores } from "./AllScores.tsx";
