import "../../app.tsx"; // is loaded already; see main.tsx
export { CompareGroups } from "./CompareGroups.tsx";
