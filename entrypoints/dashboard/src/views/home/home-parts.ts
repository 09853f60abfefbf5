/** What the list of projects shows beyond their names, loaded after them. */
import "../../app.tsx"; // is loaded already; see main.tsx
export { Activity } from "./Activity.tsx";
export { Invitations } from "./Invitations.tsx";
export { NewProject } from "./NewProject.tsx";
