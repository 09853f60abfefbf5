/** The projects of the person by organization. With one project, its traces are opened at once. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Redirect, useLocation, useSearch } from "wouter-preact";
import { renew, session, type Project } from "../../api/session.ts";
import { useCommands } from "../../lib/keys.ts";
import { reasonOf } from "../../lazy.tsx";
import { Empty, useTitle, Failed } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { useCurl } from "../../ui/useCurl.ts";

type Parts = typeof import("../parts.ts");

export function Home(): JSX.Element {
  const [text, setText] = useState("");
  const [at, setAt] = useState(-1);
  const [parts, setParts] = useState<Parts | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [, navigate] = useLocation();
  const search = useSearch();
  const find = useRef<HTMLInputElement>(null);
  useTitle("Projects");
  useEffect(renew, []);
  const now = session.value;
  const projects = now.state === "in" ? now.projects : [];
  const managed = now.state === "in" ? now.organizations.filter((one) => one.canManage) : [];
  const isInNone = now.state === "in" && now.isPerson && now.organizations.length === 0; // left, or removed
  const [only] = projects;
  const goesOn = projects.length === 1 && only !== undefined && !new URLSearchParams(search).has("all");
  useEffect(() => {
    if (!goesOn) import("../parts.ts").then(setParts, async (reason: unknown) => setError(await reasonOf(reason)));
  }, [goesOn]);
  const shown = projects.filter((one) => one.name.toLowerCase().includes(text.trim().toLowerCase()));
  const groups = new Map<string, Project[]>();
  for (const one of shown) groups.set(one.organizationId, [...(groups.get(one.organizationId) ?? []), one]);
  const inOrder = [...groups.values()].flat();
  const go = (to: number): void => {
    const index = Math.max(0, Math.min(inOrder.length - 1, to));
    setAt(index);
    document.getElementById(`project-${inOrder[index]?.id}`)?.focus();
  };
  const group = "Projects";
  const [organization] = now.state === "in" && now.isPerson ? now.organizations : [];
  useCurl(group, "the projects", organization ? `organizations/${organization.id}/projects` : null, { include: "activity" });
  useCommands([
    { keys: "/", label: "Find a project", group, run: () => find.current?.focus() },
    { keys: "j", label: "Next project", group, hidden: true, run: () => go(at + 1) },
    { keys: "k", label: "Previous project", group, hidden: true, run: () => go(at - 1) },
  ]);
  if (goesOn) return <Redirect to={pathOf(only)} replace />;
  return (
    <div class="page">
      <header class="title">
        <h1>Projects</h1>
        {projects.length > 1 && (
          <input
            ref={find}
            type="search"
            aria-label="Find a project"
            placeholder="Find a project"
            value={text}
            onInput={(event) => {
              setText(event.currentTarget.value);
              setAt(-1);
            }}
            onKeyDown={(event) => {
              if (event.key === "Enter" && inOrder[0]) navigate(pathOf(inOrder[0]));
            }}
          />
        )}
        {parts && managed.length > 0 && <parts.NewProject organizations={managed} />}
      </header>
      <Failed of={{ error }} />
      {parts && now.state === "in" && now.isPerson && <parts.Invitations />}
      {isInNone && (
        <Empty title="You are in no organization">
          <p>An owner or administrator of one can invite you by the address {now.who}: the invitation is shown here. Without one, load the page again: you get an organization of your own.</p>
        </Empty>
      )}
      {projects.length === 0 && !isInNone && (
        <Empty title="No project yet">
          <p>{managed.length > 0 ? "Make one, or send" : "A project is made by its name: send"} a trace with an API key and a new X-Project-Name.</p>
        </Empty>
      )}
      {projects.length > 0 && shown.length === 0 && <Empty title="No project has this name" />}
      {[...groups.values()].map((list) => (
        <section key={list[0]!.organizationId}>
          <h2>{list[0]!.organization}</h2>
          <ul class="cards">
            {list.map((one) => (
              <li key={one.id}>
                <Link href={pathOf(one)} id={`project-${one.id}`} class="card">
                  <strong>{one.name}</strong>
                  {parts && <parts.Activity project={one} />}
                </Link>
              </li>
            ))}
          </ul>
        </section>
      ))}
    </div>
  );
}

function pathOf(project: Project): string {
  return `/p/${encodeURIComponent(project.id)}/traces`;
}
