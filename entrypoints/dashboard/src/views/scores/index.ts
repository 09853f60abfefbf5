/** Scores, in a file of their own: it is loaded when they are first opened. */
import "../../app.tsx"; // is loaded already; see main.tsx
export { OneScore } from "./OneScore.tsx";
export { AllScores } from "./AllScores.tsx";
