import { QueryClientProvider } from "@tanstack/preact-query";
import type { ComponentType, JSX } from "preact";
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Redirect, Route, Router, Switch, useLocation } from "wouter-preact";
import { awaySince, request, ROOT } from "./api/client.ts";
import { queries } from "./api/queries.ts";
import { destination, projectId, resume, session } from "./api/session.ts";
import { handleKey } from "./lib/keys.ts";
import { Empty, FailureBox, Guarded, Loading } from "./ui/basics.tsx";
import { Shell } from "./ui/Shell.tsx";
import { Home } from "./views/Home.tsx";
import { SignIn } from "./views/SignIn.tsx";
import { Traces } from "./views/Traces.tsx";

type View<P> = ComponentType<P>;

/** A view that is loaded when it is first opened. */
function lazy<P extends object>(load: () => Promise<View<P>>, what: string): View<P> {
  let loaded: View<P> | null = null;
  return function Lazy(props: P): JSX.Element {
    const [, again] = useState(0);
    const [error, fail] = useState<unknown>(null);
    useEffect(() => {
      if (loaded !== null || error !== null) return;
      load().then(
        (view) => {
          loaded = view;
          again((n) => n + 1);
        },
        (reason: unknown) => {
          fail(reason);
          request("GET", "health").catch(() => {}); // finds out whether the service is away
        },
      );
    }, [error]);
    const isAway = awaySince.value !== null;
    useEffect(() => {
      if (!isAway) fail(null); // the service is back: the file is there again
    }, [isAway]);
    if (error !== null) return <FailureBox error={error} again={() => fail(null)} />;
    const Loaded = loaded;
    return Loaded === null ? <Loading what={what} /> : <Loaded {...props} />;
  };
}

const Trace = lazy(async () => (await import("./views/later.ts")).Trace, "the trace");
const Compare = lazy(async () => (await import("./views/Compare.tsx")).Compare, "the comparison");
const Sessions = lazy(async () => (await import("./views/later.ts")).Sessions, "sessions");
const Conversation = lazy(
  async () => (await import("./views/later.ts")).Conversation,
  "the session",
);
const Users = lazy(async () => (await import("./views/later.ts")).Users, "users");

const BASE = `${ROOT.pathname.replace(/\/$/, "")}/app`;

function App(): JSX.Element {
  useEffect(() => {
    addEventListener("keydown", handleKey);
    void resume();
    return () => removeEventListener("keydown", handleKey);
  }, []);
  return (
    <QueryClientProvider client={queries}>
      <Router base={BASE}>
        <Gate />
      </Router>
    </QueryClientProvider>
  );
}

function Gate(): JSX.Element {
  const [path] = useLocation();
  const now = session.value;
  const inProject = /^\/p\/([^/]+)/.exec(path)?.[1];
  projectId.value = inProject === undefined ? null : decodeURIComponent(inProject);
  if (now.state === "unknown") return <Loading what="the session" />;
  if (now.state === "out") return <SignIn />;
  if (now.state === "failed") return <FailureBox error={now.error} again={() => void resume()} />;
  return (
    <Shell>
      <Guarded name={path}>
        <Views />
      </Guarded>
    </Shell>
  );
}

/** The last segment of the address, decoded once: the router's parameters keep `%2F`. */
function lastSegment(): string {
  return decodeURIComponent(location.pathname.split("/").at(-1) ?? "");
}

function Views(): JSX.Element {
  const now = session.value;
  const known = now.state === "in" && now.projects.some((one) => one.id === projectId.value);
  if (projectId.value !== null && !known) {
    return (
      <Empty title="This project isn’t here, or isn’t yours" isPage>
        <a href={`${BASE}/`}>All projects</a>
      </Empty>
    );
  }
  return (
    <Switch>
      <Route path="/" component={Home} />
      <Route path="/sign-in">
        {() => <Redirect to={(destination() ?? "/app/").slice("/app".length)} replace />}
      </Route>
      <Route path="/p/:project">{({ project }) => <Redirect to={`/p/${project}/traces`} replace />}</Route>
      <Route path="/p/:project/traces" component={Traces} />
      <Route path="/p/:project/traces/:trace">{({ trace }) => <Trace key={trace} id={trace} />}</Route>
      <Route path="/p/:project/compare/:left/:right">
        {({ left, right }) => <Compare key={`${left} ${right}`} left={left} right={right} />}
      </Route>
      <Route path="/p/:project/sessions">
        <Sessions />
      </Route>
      <Route path="/p/:project/sessions/:session">
        {() => <Conversation id={lastSegment()} />}
      </Route>
      <Route path="/p/:project/users">
        <Users />
      </Route>
      <Route>
        <Empty title="There is no such page" isPage>
          <a href={`${BASE}/`}>All projects</a>
        </Empty>
      </Route>
    </Switch>
  );
}

const place = document.getElementById("app");
if (place !== null) render(<App />, place);
