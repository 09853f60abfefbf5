/** What most views use beyond the first one, in one file: many small ones compress worse. */
import "../app.tsx"; // is loaded already; see main.tsx
import "../lib/chart/axis.ts";
import "../lib/chart/scale.ts";
import "../ui/Confirm.tsx";
import "../ui/chart/Coverage.tsx";
import "../ui/Field.tsx";
import "../ui/save.ts";
import "../ui/SubPages.tsx";
import "../ui/table/usePages.ts";
