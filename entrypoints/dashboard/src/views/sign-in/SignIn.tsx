/** Sign-in: as the developer on this machine, at the provider, with a token, or with an API key. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { session, signIn, signInWithProvider } from "../../api/session.ts";
import { Button, useTitle, Failed, Form, valueTo } from "../../ui/basics.tsx";

const LABELS = { token: "Token of your identity provider", key: "API key" } as const;

export function SignIn(): JSX.Element {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [secret, setSecret] = useState("");
  useTitle("Sign in");
  const now = session.value;
  const ways = now.state === "out" ? now.ways : [];
  const pasted = (["token", "key"] as const).filter((one) => ways.includes(one));
  const [chosen, choose] = useState<"token" | "key">(ways.includes("provider") ? "key" : (pasted[0] ?? "key"));
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      await work();
    } catch (reason) {
      setError(reason);
      setBusy(false);
    }
  };
  return (
    <main class="sign-in" id="main">
      <h1>
        <span class="mark" aria-hidden="true" />
        PandaProbe
      </h1>
      {now.state === "out" && now.ended && <p role="status">The session has ended. Sign in again.</p>}
      {now.state === "out" && now.problem !== null && (
        <p class="problem" role="alert">
          {now.problem}
        </p>
      )}
      {ways.includes("development") && (
        <Button class="main" disabled={busy} autoFocus onClick={() => void attempt(() => signIn("development", null))}>
          Continue as developer
        </Button>
      )}
      {ways.includes("provider") && (
        <Button class="main" disabled={busy} autoFocus onClick={() => void attempt(signInWithProvider)}>
          Sign in
        </Button>
      )}
      {pasted.length > 0 && (
        <Form send={() => attempt(() => signIn(chosen, secret))}>
          <div class="tabs" role="radiogroup" aria-label="Way to sign in">
            {pasted.map((one) => (
              <label key={one}>
                <input type="radio" name="way" checked={chosen === one} onChange={() => {
                    choose(one);
                    setSecret("");
                    setError(null);
                  }} />
                {one === "token" ? "Token" : "API key"}
              </label>
            ))}
          </div>
          <label>
            {LABELS[chosen]}
            <input
              type="password"
              name="secret"
              autocomplete="off"
              required
              value={secret}
              onInput={valueTo(setSecret)}
            />
          </label>
          <Button type="submit" disabled={busy}>
            Sign in with {chosen === "token" ? "the token" : "the key"}
          </Button>
          <p class="hint">It is sent once, and this page doesn’t keep it.</p>
        </Form>
      )}
      {!isSecureContext && (
        <p class="problem">This page needs https, or the address http://127.0.0.1 or http://localhost.</p>
      )}
      <Failed of={{ error }} />
    </main>
  );
}
