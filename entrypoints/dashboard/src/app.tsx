import { QueryClientProvider } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { Redirect, Route, Router, Switch, useLocation } from "wouter-preact";
import { queries, useReturn } from "./api/queries.ts";
import { ended } from "./api/client.ts";
import { destination, followTabs, projectId, resume, session } from "./api/session.ts";
import { closeMenus, handleKey, leaveToInputMethod } from "./lib/keys.ts";
import { lazy } from "./lazy.tsx";
import { PAGES } from "./pages.tsx";
import { BASE } from "./url/base.ts";
import { decoded, paramsOf } from "./url/params.ts";
import { Empty, FailureBox, Guarded, focusMain, Loading, useWindowTitle } from "./ui/basics.tsx";
import { Away, Shell } from "./ui/Shell.tsx";
import { Home } from "./views/home/Home.tsx";
import { SignIn, SignInAgain } from "./views/sign-in/SignIn.tsx";

function App(): JSX.Element {
  useEffect(() => {
    addEventListener("keydown", leaveToInputMethod, { capture: true });
    addEventListener("keydown", handleKey);
    for (const type of ["click", "focusin"]) addEventListener(type, closeMenus, true); // before a press changes the page
    if (isShared(location.pathname.slice(BASE.length))) return;
    void resume();
    followTabs();
  }, []);
  return (
    <QueryClientProvider client={queries}>
      <Router base={BASE}>
        <Gate />
      </Router>
    </QueryClientProvider>
  );
}

const SharedPage = lazy(async () => (await import("./views/trace/index.ts")).Shared, "the trace");
const OrganizationPage = lazy(async () => (await import("./views/manage.ts")).Organization, "the organization");
const MePage = lazy(async () => (await import("./views/manage.ts")).Me, "your page");
const GoPage = lazy(async () => (await import("./views/later.ts")).Go, "the page");

/** Whether the page is that of a public link, which needs no session. */
function isShared(path: string): boolean {
  return path.startsWith("/shared/");
}

function Gate(): JSX.Element {
  const [path] = useLocation();
  const now = session.value;
  useWindowTitle(now.state + path, focusMain); // links of the dashboard load no page, after which a browser would tell it
  useReturn(() => session.peek().state === "failed" && resume());
  const inProject = /^\/p\/([^/]+)/.exec(path)?.[1];
  projectId.value = inProject === undefined ? null : decoded(inProject);
  if (isShared(path)) return <SharedPage token={paramsOf("/shared/:token", path).token ?? ""} />;
  if (now.state === "unknown") return <Loading what="the session" />;
  if (now.state === "out") return <SignIn />;
  if (now.state === "failed") {
    return (
      <>
        <Away />
        <FailureBox error={now.error} again={() => void resume()} />
      </>
    );
  }
  return (
    <>
      <Shell>
        <Guarded name={path}>
          <Views />
        </Guarded>
      </Shell>
      {ended.value && <SignInAgain />}
    </>
  );
}

function Views(): JSX.Element {
  const [here] = useLocation();
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
      <Route path="/me">{() => <MePage />}</Route>
      <Route path="/o/:org">{({ org }) => <Redirect to={`/o/${org}/members`} replace />}</Route>
      <Route path="/o/:org/:page">{({ org, page }) => <OrganizationPage id={decoded(org)} page={page} />}</Route>
      <Route path="/go/trace/:id">{() => <GoPage kind="trace" id={paramsOf("/go/trace/:id", here).id!} />}</Route>
      <Route path="/go/session/:id">{() => <GoPage kind="session" id={paramsOf("/go/session/:id", here).id!} />}</Route>
      {PAGES.map(({ path, view: View }) => (
        <Route key={path} path={path === "" ? "/p/:project" : `/p/:project/${path}`}>
          {() => <View key={projectId.value} params={paramsOf(`/p/:project/${path}`, here)} />}
        </Route>
      ))}
      <Route>
        <Empty title="No page has this address" isPage>
          <a href={`${BASE}/`}>All projects</a>
        </Empty>
      </Route>
    </Switch>
  );
}

const place = document.getElementById("app");
if (place !== null) render(<App />, place);
