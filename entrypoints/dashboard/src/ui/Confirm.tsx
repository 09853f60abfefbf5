/** Asks before something that can't be undone: names it, and has the word typed where much is lost. */
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import { announce, Button, Dialog, Failed, Form, valueTo } from "./basics.tsx";
import { useSending } from "./Field.tsx";

export interface Question {
  title: string;
  text: ComponentChildren;
  act: string; // the label of the button
  done: string;
  word?: string; // has to be typed
  run: () => Promise<unknown>;
}

export function Confirm({ title, text, act, done, word, run, close }: Question & { close: () => void }): JSX.Element {
  const [typed, setTyped] = useState("");
  const sending = useSending();
  return (
    <Dialog title={title} close={close}>
      <Form send={() => {
          void sending.send(run).then((worked) => {
            if (!worked) return;
            announce(done);
            close();
          });
        }}>
        <p>{text}</p>
        {word !== undefined && (
          <label>
            <span>
              To confirm, type <code>{word}</code>
            </span>
            <input autocomplete="off" spellcheck={false} value={typed} onInput={valueTo(setTyped)} />
          </label>
        )}
        <p class="actions">
          <Button autoFocus onClick={close}>Cancel</Button>
          <Button type="submit" class="danger" disabled={sending.isBusy || (word !== undefined && typed !== word)}>
            {act}
          </Button>
        </p>
      </Form>
      <Failed of={sending} />
    </Dialog>
  );
}
