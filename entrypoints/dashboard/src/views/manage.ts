/** Organizations, data and the own page, in one file. */
import "./parts.ts";
export { Data } from "./data/Data.tsx";
export { Me } from "./me/Me.tsx";
export { Organization } from "./organization/Organization.tsx";
