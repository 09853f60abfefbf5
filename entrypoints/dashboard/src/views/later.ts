/** The views that are loaded when one of them is first opened, in one file. */
import "./parts.ts";
export { Conversation } from "./sessions/Conversation.tsx";
export { Go } from "./home/Go.tsx";
export { Sessions } from "./sessions/Sessions.tsx";
export { Trace } from "./trace/Trace.tsx";
export { Users } from "./users/Users.tsx";
