/** Opens a trace or a session of which only the id is known: for links from logs. */
import { useQuery } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { find, pageOf } from "../../api/found.ts";
import { session } from "../../api/session.ts";
import type { FoundObjectResponse } from "../../api/types.d.ts";
import { Empty, Loading, useTitle, Failed } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";

export function Go({ kind, id }: { kind: "trace" | "session"; id: string }): JSX.Element {
  useTitle(id);
  const [, navigate] = useLocation();
  const answer = useQuery<FoundObjectResponse[]>({ queryKey: [null, "me/find", id], queryFn: ({ signal }) => find(id, signal) });
  const found = answer.data?.filter((one) => one.kind === kind) ?? [];
  const only = found.length === 1 ? pageOf(found[0]!, id) : null;
  useEffect(() => {
    if (only !== null) navigate(only + location.search, { replace: true });
  }, [only]);
  if (answer.isError) return <Failed of={answer} />;
  if (answer.data === undefined || only !== null) return <Loading what={`the ${kind}`} />;
  const now = session.value;
  const named = (project: string): string => (now.state === "in" && now.projects.find((one) => one.id === project)?.name) || project;
  return (
    <Empty title={found.length === 0 ? `None of your projects has this ${kind}` : `Several projects have this ${kind}`} isPage>
      <code>{id}</code>
      {found.map((one) => <Link key={one.project_id} href={pageOf(one, id) ?? "/"}>{named(one.project_id)}</Link>)}
    </Empty>
  );
}
