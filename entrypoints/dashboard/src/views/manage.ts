/** Organizations, data, users and the own page, in one file. */
import "./parts.ts";
export { Data } from "./data/Data.tsx";
export { Me } from "./me/Me.tsx";
export { Organization } from "./organization/Organization.tsx";
export { Exports } from "./data/Exports.tsx";
export { Users } from "./users/Users.tsx";
