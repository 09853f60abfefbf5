/** What most views use beyond the first one, in one file: many small ones compress worse. */
import "../app.tsx"; // is loaded already; see main.tsx
import "../lib/chart/axis.ts";
import "../lib/chart/scale.ts";
import "../lib/outline.ts";
import "../lib/tree.ts";
import "../ui/Confirm.tsx";
import "../ui/chart/Chart.tsx";
import "../ui/chart/Coverage.tsx";
import "../ui/chart/Period.tsx";
import "./overview/parts.tsx";
import "../ui/Field.tsx";
import "../ui/Head.tsx";
import "../ui/LongText.tsx";
import "../ui/Modes.tsx";
import "../ui/save.ts";
import "../ui/SubPages.tsx";
import "../ui/Splitter.tsx";
import "../ui/table/grid-keys.ts";
import "../ui/table/Paged.tsx";
import "../ui/table/usePages.ts";
import "../ui/useCurl.ts";
import "../ui/useDraft.ts";
import "../ui/useSettled.ts";
import "../api/whole-trace.ts";
import "./trace/useOutline.ts";
// What the list of projects shows beyond their names, loaded after them.
export { Activity } from "./home/Activity.tsx";
export { Invitations } from "./home/Invitations.tsx";
export { NewProject } from "./home/NewProject.tsx";
