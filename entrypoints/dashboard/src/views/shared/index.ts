import "../parts.ts";
export { Shared } from "./Shared.tsx";
