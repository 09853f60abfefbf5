/** Sign-in: as the developer on this machine, at the provider, with a token, or with an API key. */
import type { JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { address, ended } from "../../api/client.ts";
import { queries } from "../../api/queries.ts";
import { session, signIn, signInWithProvider } from "../../api/session.ts";
import { Button, closeDialog, useTitle, Failed, Form, valueTo } from "../../ui/basics.tsx";

const LABELS = { token: "Token of your identity provider", key: "API key" } as const;

/** Over the page whose session has ended, and hides it. What is typed there stays. */
export function SignInAgain(): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = (): void => dialog.current?.showModal();
  // Before the page behind it is hidden and loses the focus.
  useLayoutEffect(() => {
    const held = document.activeElement;
    open();
    return () => {
      closeDialog(dialog.current, held);
      void queries.invalidateQueries();
    };
  }, []);
  return (
    <dialog ref={dialog} aria-label="Sign in" onCancel={(event) => event.preventDefault()} onClose={open}>
      <SignIn />
    </dialog>
  );
}

export function SignIn(): JSX.Element {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [secret, setSecret] = useState("");
  useTitle("Sign in");
  const now = session.value;
  const ways = now.state === "out" || now.state === "in" ? now.ways : [];
  const Place = ended.value ? "div" : "main";
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
    <Place class="sign-in" id={ended.value ? "sign-in" : "main"} tabIndex={-1}>
      <h1>
        <span class="mark" aria-hidden="true" />
        PandaProbe
      </h1>
      {ended.value && <p role="status">The session has ended. Sign in again.</p>}
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
      {ways.includes("provider") && ended.value && (
        <a href={address("app/sign-in")} target="_blank">Sign in in a new tab: this one keeps what is typed</a>
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
    </Place>
  );
}
