/** The projects of the person. With one project, its traces are opened at once. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Link, Redirect } from "wouter-preact";
import { session, type Project } from "../api/session.ts";
import { Empty, useTitle } from "../ui/basics.tsx";

export function Home(): JSX.Element {
  const [text, setText] = useState("");
  useTitle("Projects");
  const now = session.value;
  const projects = now.state === "in" ? now.projects : [];
  const [only] = projects;
  if (projects.length === 1 && only) {
    return <Redirect to={`/p/${encodeURIComponent(only.id)}/traces`} replace />;
  }
  const shown = projects.filter((one) => one.name.toLowerCase().includes(text.toLowerCase()));
  const groups = new Map<string, Project[]>();
  for (const one of shown) groups.set(one.organization, [...(groups.get(one.organization) ?? []), one]);
  return (
    <div class="page">
      <header class="title">
        <h1>Projects</h1>
        <input
          type="search"
          aria-label="Find a project"
          placeholder="Find a project"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </header>
      {projects.length === 0 && (
        <Empty title="There is no project yet">
          <p>A project is made by its name: send a trace with an API key and a new X-Project-Name.</p>
        </Empty>
      )}
      {[...groups].map(([organization, list]) => (
        <section key={organization}>
          <h2>{organization}</h2>
          <ul class="cards">
            {list.map((one) => (
              <li key={one.id}>
                <Link href={`/p/${encodeURIComponent(one.id)}/traces`}>{one.name}</Link>
              </li>
            ))}
          </ul>
        </section>
      ))}
    </div>
  );
}
