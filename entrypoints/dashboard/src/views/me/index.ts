import "../../app.tsx"; // is loaded already; see main.tsx
export { Me } from "./Me.tsx";
