/** The views that are loaded when one of them is first opened, in one file. */
import "../app.tsx"; // is loaded already; see main.tsx
export { Conversation } from "./Conversation.tsx";
export { Sessions } from "./Sessions.tsx";
export { Trace } from "./Trace.tsx";
export { Users } from "./Users.tsx";
