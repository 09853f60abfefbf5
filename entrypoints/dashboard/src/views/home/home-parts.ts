/** What the list of projects shows beyond their names, loaded after them. */
import "../parts.ts";
export { Activity } from "./Activity.tsx";
export { Invitations } from "./Invitations.tsx";
export { NewProject } from "./NewProject.tsx";
