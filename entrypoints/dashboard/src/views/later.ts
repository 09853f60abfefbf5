/** Sessions, comparisons of two traces, and addresses that name no project, in one file. */
import "./parts.ts";
import "./payload-parts.ts";
import "./trace/TraceChat.tsx"; // shared with a trace and with labelling: one file of all that shows payloads
export { Compare } from "./compare/Compare.tsx";
export { Conversation } from "./sessions/Conversation.tsx";
export { Go } from "./home/Go.tsx";
export { Sessions } from "./sessions/Sessions.tsx";
