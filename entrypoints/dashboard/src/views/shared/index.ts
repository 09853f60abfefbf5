import "../../app.tsx"; // is loaded already; see main.tsx
export { Shared } from "./Shared.tsx";
