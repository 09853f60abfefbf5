/** Invitations of the person to organizations. */
import { useQuery } from "@tanstack/preact-query";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { resume } from "../../api/session.ts";
import type { MyInvitationResponse } from "../../api/types.d.ts";
import { ago, fullInstant } from "../../lib/format.ts";
import { announce, Button, Failed } from "../../ui/basics.tsx";

export function Invitations(): JSX.Element | null {
  const [error, setError] = useState<unknown>(null);
  const answer = useQuery<MyInvitationResponse[]>({
    queryKey: [null, "invitations"],
    queryFn: ({ signal }) => request("GET", "me/invitations", { signal }),
  });
  const decide = async (one: MyInvitationResponse, act: "accept" | "decline"): Promise<void> => {
    setError(null);
    try {
      await request("POST", `me/invitations/${one.id}/${act}`);
      announce(act === "accept" ? `You are a member of ${one.org_name}` : "Declined the invitation");
      await answer.refetch();
      if (act === "accept") await resume();
    } catch (reason) {
      setError(reason);
    }
  };
  if (answer.isError) return <Failed of={answer} />;
  if (!answer.data?.length) return null;
  return (
    <section aria-label="Invitations" class="invitations">
      {answer.data.map((one) => (
        <p key={one.id}>
          <span>
            {one.inviter_display_name || one.inviter_email} invites you to <strong>{one.org_name}</strong> as {one.role.toLowerCase()}{" "}
            <small title={fullInstant(one.created_at)}>{ago(one.created_at)}</small>
          </span>
          <Button class="main" onClick={() => void decide(one, "accept")}>
            Accept
          </Button>
          <Button onClick={() => void decide(one, "decline")}>Decline</Button>
        </p>
      ))}
      <Failed of={{ error }} />
    </section>
  );
}
