/** An organization: its people, keys, projects, limits and costs, public links, and audit log. */
import type { ComponentType, JSX } from "preact";
import { session } from "../../api/session.ts";
import { Empty, Guarded, useTitle } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { SubPages } from "../../ui/SubPages.tsx";
import { AuditLog } from "./AuditLog.tsx";
import { Keys } from "./Keys.tsx";
import { Costs, Limits, Sharing } from "./Limits.tsx";
import { Invitations, Members } from "./People.tsx";
import { Projects } from "./Projects.tsx";

export const GROUP = "Organization"; // of keys

export interface Place {
  id: string;
  role: string;
  path: string; // of its API
}

const PAGES: readonly (readonly [string, string, ComponentType<Place>])[] = [
  ["members", "Members", Members],
  ["invitations", "Invitations", Invitations],
  ["keys", "API keys", Keys],
  ["projects", "Projects", Projects],
  ["limits", "Limits", Limits],
  ["costs", "Judge costs", Costs],
  ["sharing", "Public links", Sharing],
  ["audit", "Audit log", AuditLog],
];

export function Organization({ id, page }: { id: string; page: string }): JSX.Element {
  const now = session.value;
  const known = now.state === "in" ? now.organizations.find((one) => one.id === id) : undefined;
  const shown = PAGES.find(([name]) => name === page);
  useTitle(shown?.[1], known?.name);
  if (known === undefined || shown === undefined || known.role === null) {
    return (
      <Empty title={known?.role === null ? "This needs a person: you are signed in with an API key" : "This page isn’t here, or isn’t yours"} isPage>
        <Link href="/?all=1">All projects</Link>
      </Empty>
    );
  }
  const View = shown[2];
  return (
    <div class="page admin">
      <h1>{known.name}</h1>
      <SubPages
        label="Organization"
        at={page}
        pages={PAGES.map(([name, text]) => ({ name, text, href: `/o/${encodeURIComponent(id)}/${name}` }))}
      />
      <Guarded name={page}>
        <View id={id} role={known.role} path={`organizations/${id}`} />
      </Guarded>
    </div>
  );
}

/** Why a role may not do what takes an owner, or an administrator; undefined if it may. */
export function lacking(role: string, least: "OWNER" | "ADMIN"): string | undefined {
  if (role === "OWNER" || role === least) return undefined;
  return least === "OWNER" ? "Only owners may do this" : "Only owners and administrators may do this";
}
