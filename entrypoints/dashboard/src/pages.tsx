/** The pages of a project: addresses, views, and places in the navigation. */
import type { ComponentType } from "preact";
import { lazy } from "./lazy.tsx";
import type { Params } from "./url/params.ts";
import { AlertMark } from "./views/monitors/AlertMark.tsx";
import { Traces } from "./views/traces/Traces.tsx";

export interface Page {
  path: string; // below /p/:project
  view: ComponentType<{ params: Params }>;
  nav?: {
    group: "Observe" | "Evaluate" | "Manage";
    label: string;
    key: string;
    also?: readonly string[]; // further first segments that belong to this entry
    mark?: ComponentType; // behind the label
  };
}

const later = () => import("./views/later.ts");
const experiments = () => import("./views/experiments/index.ts");
const manage = () => import("./views/manage.ts");
const monitors = () => import("./views/monitors/index.ts");
const runs = () => import("./views/runs/index.ts");
const scores = () => import("./views/scores/index.ts");

/** In the order of the navigation. The icon of an entry has the name of its first segment. */
export const PAGES: readonly Page[] = [
  {
    path: "",
    view: lazy(async () => (await import("./views/overview/index.ts")).Overview, "the overview"),
    nav: { group: "Observe", label: "Overview", key: "g o" },
  },
  { path: "traces", view: Traces, nav: { group: "Observe", label: "Traces", key: "g t", also: ["compare", "compare-groups"] } },
  {
    path: "traces/:trace",
    view: lazy(async () => {
      const { Trace } = await import("./views/trace/index.ts");
      return ({ params }) => <Trace key={params.trace} id={params.trace!} />;
    }, "the trace"),
  },
  {
    path: "compare/:left/:right",
    view: lazy(async () => {
      const { Compare } = await later();
      return ({ params }) => <Compare key={`${params.left} ${params.right}`} left={params.left!} right={params.right!} />;
    }, "the comparison"),
  },
  { path: "compare-groups", view: lazy(async () => (await experiments()).CompareGroups, "the comparison") },
  {
    path: "sessions",
    view: lazy(async () => (await later()).Sessions, "sessions"),
    nav: { group: "Observe", label: "Sessions", key: "g s" },
  },
  {
    path: "sessions/:session",
    view: lazy(async () => {
      const { Conversation } = await later();
      return ({ params }) => <Conversation id={params.session!} />;
    }, "the session"),
  },
  {
    path: "users",
    view: lazy(async () => (await manage()).Users, "users"),
    nav: { group: "Observe", label: "Users", key: "g p" },
  },
  {
    path: "scores",
    view: lazy(async () => (await scores()).AllScores, "scores"),
    nav: { group: "Evaluate", label: "Scores", key: "g c" },
  },
  {
    path: "scores/:name",
    view: lazy(async () => {
      const { OneScore } = await scores();
      return ({ params }) => <OneScore key={params.name} name={params.name!} />;
    }, "the score"),
  },
  {
    path: "label",
    view: lazy(async () => (await scores()).Label, "the labelling queue"),
    nav: { group: "Evaluate", label: "Label", key: "g l" },
  },
  {
    path: "runs",
    view: lazy(async () => (await runs()).Runs, "runs"),
    nav: { group: "Evaluate", label: "Runs", key: "g r" },
  },
  {
    path: "runs/new",
    view: lazy(async () => (await runs()).NewRun, "the form"),
  },
  {
    path: "runs/:of/:run",
    view: lazy(async () => {
      const { Run } = await runs();
      return ({ params }) => <Run key={params.run} of={params.of === "sessions" ? "sessions" : "traces"} id={params.run!} />;
    }, "the run"),
  },
  {
    path: "metrics",
    view: lazy(async () => (await runs()).Metrics, "metrics"),
    nav: { group: "Evaluate", label: "Metrics", key: "g e" },
  },
  {
    path: "metrics/:name",
    view: lazy(async () => {
      const { Metric } = await runs();
      return ({ params }) => <Metric key={params.name} name={params.name!} />;
    }, "the metric"),
  },
  {
    path: "usage",
    view: lazy(async () => (await import("./views/overview/index.ts")).Usage, "usage"),
    nav: { group: "Observe", label: "Usage", key: "g u" },
  },
  {
    path: "monitors",
    view: lazy(async () => (await monitors()).Monitors, "monitors"),
    nav: { group: "Evaluate", label: "Monitors", key: "g m" },
  },
  { path: "monitors/new", view: lazy(async () => (await monitors()).NewMonitor, "the form") },
  {
    path: "monitors/:monitor",
    view: lazy(async () => {
      const { Monitor } = await monitors();
      return ({ params }) => <Monitor key={params.monitor} id={params.monitor!} />;
    }, "the monitor"),
  },
  {
    path: "alerts",
    view: lazy(async () => (await monitors()).Alerts, "alerts"),
    nav: { group: "Evaluate", label: "Alerts", key: "g a", mark: AlertMark },
  },
  {
    path: "datasets",
    view: lazy(async () => (await experiments()).Datasets, "datasets"),
    nav: { group: "Evaluate", label: "Datasets", key: "g i" },
  },
  {
    path: "datasets/:dataset",
    view: lazy(async () => {
      const { Dataset } = await experiments();
      return ({ params }) => <Dataset key={params.dataset} name={params.dataset!} />;
    }, "the dataset"),
  },
  {
    path: "experiments",
    view: lazy(async () => (await experiments()).Experiments, "experiments"),
    nav: { group: "Evaluate", label: "Experiments", key: "g x" },
  },
  {
    path: "experiments/:experiment",
    view: lazy(async () => {
      const { Experiment } = await experiments();
      return ({ params }) => <Experiment key={params.experiment} id={params.experiment!} />;
    }, "the experiment"),
  },
  {
    path: "experiments/:base/compare/:candidate",
    view: lazy(async () => {
      const { Verdict } = await experiments();
      return ({ params }) => <Verdict key={`${params.base} ${params.candidate}`} base={params.base!} candidate={params.candidate!} />;
    }, "the comparison"),
  },
  {
    path: "data",
    view: lazy(async () => (await manage()).Data, "the data"),
    nav: { group: "Manage", label: "Data", key: "g d" },
  },
];
