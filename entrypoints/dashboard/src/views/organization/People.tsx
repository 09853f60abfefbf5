/** Members with their roles, and invitations. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { resume, session } from "../../api/session.ts";
import type { OrganizationInvitationResponse, OrganizationMembershipResponse } from "../../api/types.d.ts";
import { ago, fullInstant } from "../../lib/format.ts";
import { announce, Button, Failed, Form, valueTo, Select } from "../../ui/basics.tsx";
import { Confirm, type Question } from "../../ui/Confirm.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { Rows } from "../../ui/SubPages.tsx";
import { GROUP, lacking, type Place } from "./Organization.tsx";
import { useCurl } from "../../ui/useCurl.ts";

const ROLES = ["MEMBER", "ADMIN", "OWNER"];
const RIGHTS = [
  ["Member", "works with all projects and their traces, makes API keys, shares traces if links are allowed"],
  ["Administrator", "also makes and changes projects, budgets, prices and retention, rotates and revokes keys, invites and removes members, allows public links, reads the audit log"],
  ["Owner", "also changes roles, invites administrators, removes anybody, deletes projects and the organization"],
] as const;

export function Members({ path, role }: Place): JSX.Element {
  const answer = useRead<OrganizationMembershipResponse[]>(`${path}/members`);
  useCurl(GROUP, "the members", `${path}/members`);
  const [question, ask] = useState<Question | null>(null);
  const sending = useSending();
  const me = session.value.state === "in" ? session.value.who : "";
  const isMe = (one: OrganizationMembershipResponse): boolean => one.email === me;
  const change = (one: OrganizationMembershipResponse, to: string): void =>
    void sending.send(async () => {
      await request("PATCH", `${path}/members/${one.user_id}`, { body: { role: to } });
      announce(`${one.email} is ${to.toLowerCase()} now`);
      await invalidate(path);
    });
  const remove = (one: OrganizationMembershipResponse): void =>
    ask({
      title: isMe(one) ? "Leave the organization?" : `Remove ${one.email}?`,
      text: "The API keys that this person created here are revoked at once.",
      act: isMe(one) ? "Leave" : "Remove",
      done: isMe(one) ? "You left" : `Removed ${one.email}`,
      run: async () => {
        await request("DELETE", `${path}/members/${one.user_id}`);
        await (isMe(one) ? resume() : invalidate(path));
      },
    });
  return (
    <>
      <details>
        <summary>What each role may do</summary>
        <dl class="rights">
          {RIGHTS.map(([name, text]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{text}</dd>
            </div>
          ))}
        </dl>
      </details>
      <Failed of={sending} />
      <Rows
        label="Members"
        answer={answer}
        rows={answer.data}
        keyOf={(one) => one.user_id}
        empty="No members"
        cells={[
          ["Person", (one) => <>{one.display_name} <small>{one.email}{isMe(one) && " (you)"}</small></>],
          [
            "Role",
            (one) => (
              <Select aria-label={`Role of ${one.email}`} value={one.role} disabled={isMe(one) || role !== "OWNER" || sending.isBusy} title={isMe(one) ? "You can’t change your own role" : lacking(role, "OWNER")} choose={(value) => change(one, value)} options={ROLES.map((each) => [each, each.toLowerCase()])} />
            ),
          ],
          ["Since", (one) => <span title={fullInstant(one.created_at)}>{ago(one.created_at)}</span>],
          [
            "!Acts",
            (one) => {
              const why = isMe(one) ? undefined : lacking(role, one.role === "MEMBER" ? "ADMIN" : "OWNER");
              return <Button class="link danger" disabled={why !== undefined} title={why} onClick={() => remove(one)}>{isMe(one) ? "Leave …" : "Remove …"}</Button>;
            },
          ],
        ]}
      />
      {question && <Confirm {...question} close={() => ask(null)} />}
    </>
  );
}

export function Invitations({ path, role }: Place): JSX.Element {
  const answer = useRead<OrganizationInvitationResponse[]>(`${path}/invitations`);
  useCurl(GROUP, "the invitations", `${path}/invitations`);
  const [email, setEmail] = useState("");
  const [as, setAs] = useState("MEMBER");
  const sending = useSending(["email", "role"]);
  const why = lacking(role, "ADMIN");
  const invite = async (): Promise<void> => {
    await request("POST", `${path}/invitations`, { body: { email: email.trim(), role: as } });
    announce(`Invited ${email.trim()}`);
    setEmail("");
    await invalidate(path);
  };
  const revoke = (one: OrganizationInvitationResponse): void =>
    void sending.send(async () => {
      await request("DELETE", `${path}/invitations/${one.id}`);
      announce("Revoked the invitation");
      await invalidate(path);
    });
  return (
    <>
      <Form class="fields" send={() => sending.send(invite)}>
        <Field label="Email address" problem={sending.problemOf("email")} hint="No mail is sent: the person finds it after signing in with this address">
          {(own) => <input {...own} type="email" required disabled={why !== undefined} value={email} onInput={valueTo(setEmail)} />}
        </Field>
        <Field label="Role" problem={sending.problemOf("role")}>
          {(own) => (
            <Select {...own} value={as} disabled={why !== undefined} choose={setAs} options={[["MEMBER", "member"], ...(role === "OWNER" ? [["ADMIN", "administrator"]] : [])]} />
          )}
        </Field>
        <Button type="submit" class="main" disabled={sending.isBusy || why !== undefined} title={why}>Invite</Button>
      </Form>
      <Failed of={sending} />
      <Rows
        label="Invitations"
        answer={answer}
        rows={answer.data}
        keyOf={(one) => one.id}
        empty="No open invitations"
        cells={[
          ["Address", (one) => one.email],
          ["Role", (one) => one.role.toLowerCase()],
          ["Status", (one) => one.status.toLowerCase()],
          ["Invited by", (one) => one.inviter_display_name || one.inviter_email],
          ["Until", (one) => <span title={fullInstant(one.expires_at)}>{ago(one.expires_at)}</span>],
          ["!Acts", (one) => one.status === "PENDING" && <Button class="link danger" disabled={why !== undefined} title={why} onClick={() => revoke(one)}>Revoke</Button>],
        ]}
      />
    </>
  );
}
