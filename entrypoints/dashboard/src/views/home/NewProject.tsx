/** Makes a project in an organization that the person manages. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { request } from "../../api/client.ts";
import { resume, type Organization } from "../../api/session.ts";
import { announce, Button, Dialog, Failed, Form, valueTo, Select } from "../../ui/basics.tsx";

export function NewProject({ organizations }: { organizations: readonly Organization[] }): JSX.Element {
  const [isOpen, open] = useState(false);
  const [name, setName] = useState("");
  const [of, setOf] = useState(organizations[0]!.id);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [, navigate] = useLocation();
  const make = async (): Promise<void> => {
    setError(null);
    setBusy(true);
    try {
      const made = await request<{ id: string }>("POST", `organizations/${of}/projects`, { body: { name: name.trim() } });
      await resume();
      announce(`Made the project ${name.trim()}`);
      navigate(`/p/${encodeURIComponent(made.id)}/traces`);
    } catch (reason) {
      setError(reason);
    }
    setBusy(false);
  };
  return (
    <>
      <Button icon="plus" onClick={() => open(true)}>
        New project …
      </Button>
      {isOpen && (
        <Dialog title="New project" close={() => open(false)}>
          <Form send={make}>
            <label>
              Name
              <input required maxLength={255} autoFocus value={name} onInput={valueTo(setName)} />
            </label>
            {organizations.length > 1 && (
              <label>
                Organization
                <Select value={of} choose={setOf} options={organizations.map((one) => [one.id, one.name])} />
              </label>
            )}
            <p class="actions">
              <Button type="submit" class="main" disabled={busy}>
                Make the project
              </Button>
            </p>
          </Form>
          <Failed of={{ error }} />
        </Dialog>
      )}
    </>
  );
}
