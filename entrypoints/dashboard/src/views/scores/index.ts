/** Scores, in a file of their own: it is loaded when they are first opened. */
import "../parts.ts";
export { OneScore } from "./OneScore.tsx";
export { AllScores } from "./AllScores.tsx";
