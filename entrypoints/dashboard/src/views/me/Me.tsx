/** The person: profile, invitations, sessions of browsers, and what they prefer here. */
import type { Signal } from "@preact/signals";
import type { JSX } from "preact";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { session, signOut } from "../../api/session.ts";
import type { MySessionResponse, UserProfileResponse } from "../../api/types.d.ts";
import { ago, fullInstant } from "../../lib/format.ts";
import { density, singleKeys, theme, zone } from "../../lib/preferences.ts";
import { announce, Button, Empty, useTitle, Failed, Select } from "../../ui/basics.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { Rows } from "../../ui/SubPages.tsx";
import { Invitations } from "../home/Invitations.tsx";
import { useCurl } from "../../ui/useCurl.ts";

export function Me(): JSX.Element {
  useTitle("Me");
  const now = session.value;
  const isPerson = now.state === "in" && now.isPerson;
  return (
    <div class="page admin">
      <h1>{now.state === "in" ? now.who : "Me"}</h1>
      <section aria-labelledby="preferences">
        <h2 id="preferences">In this browser</h2>
        <div class="fields">
          <Choice label="Theme" of={theme as Signal<string>} values={[["system", "as the system"], ["light", "light"], ["dark", "dark"]]} />
          <Choice label="Density" of={density as Signal<string>} values={[["comfortable", "comfortable"], ["compact", "compact"]]} />
          <Choice label="Times" of={zone as Signal<string>} values={[["local", "local"], ["utc", "UTC"]]} />
          <Choice label="Single-key shortcuts" of={singleKeys as Signal<string>} values={[["on", "on"], ["off", "off"]]} />
        </div>
      </section>
      {isPerson ? <Person /> : <Empty title="You are signed in with an API key: there is no profile" />}
    </div>
  );
}

function Choice({ label, of, values }: { label: string; of: Signal<string>; values: readonly (readonly [string, string])[] }): JSX.Element {
  return (
    <Field label={label}>
      {(own) => (
        <Select {...own} value={of.value} choose={(chosen) => (of.value = chosen)} options={values} />
      )}
    </Field>
  );
}

/** Such as `Firefox 140 on Linux`; else what the browser said. */
function browserName(agent: string | null): string {
  if (agent === null) return "unknown";
  const browser = /(Edg|OPR|Firefox|Chrome|Version)\/(\d+)/.exec(agent);
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux)/.exec(agent)?.[1];
  if (browser === null) return agent;
  const name = { Edg: "Edge", OPR: "Opera", Version: "Safari" }[browser[1]!] ?? browser[1];
  return `${name} ${browser[2]}${system ? ` on ${system.replace("Mac OS X", "macOS")}` : ""}`;
}

function Person(): JSX.Element {
  const profile = useRead<UserProfileResponse>("me");
  const sessions = useRead<MySessionResponse[]>("me/sessions");
  useCurl("Me", "the profile", "me");
  const sending = useSending();
  const end = (one: MySessionResponse): void =>
    void sending.send(async () => {
      if (one.is_this) return signOut();
      await request("DELETE", `me/sessions/${one.id}`);
      announce("Ended the session");
      await invalidate("me/sessions");
    });
  return (
    <>
      <Failed of={profile} />
      {profile.data && (
        <p>
          {profile.data.display_name && <strong>{profile.data.display_name} </strong>}
          {profile.data.email} <small title={fullInstant(profile.data.created_at)}>here since {ago(profile.data.created_at)}</small>
        </p>
      )}
      <Invitations />
      <section aria-labelledby="sessions">
        <h2 id="sessions">Browsers that are signed in</h2>
        <Rows
          label="Sessions"
          answer={sessions}
          rows={sessions.data}
          keyOf={(one) => one.id}
          empty="None"
          cells={[
            ["Browser", (one) => <><span title={one.agent ?? ""}>{browserName(one.agent)}</span> {one.is_this && <strong class="tag">this one</strong>}</>],
            ["From", (one) => one.address ?? "unknown"],
            ["Signed in", (one) => <span title={fullInstant(one.created_at)}>{ago(one.created_at)} <small>by {one.method}</small></span>],
            ["Last used", (one) => <span title={fullInstant(one.last_used_at)}>{ago(one.last_used_at)}</span>],
            ["Ends", (one) => <span title={fullInstant(one.ends_at)}>{ago(one.ends_at)}</span>],
            ["!Acts", (one) => <Button class="link danger" disabled={sending.isBusy} onClick={() => end(one)}>{one.is_this ? "Sign out" : "End"}</Button>],
          ]}
        />
        <Failed of={sending} />
      </section>
    </>
  );
}
