import "../../app.tsx"; // is loaded already; see main.tsx
export { Organization } from "./Organization.tsx";
