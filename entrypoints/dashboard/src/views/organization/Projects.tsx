/** The projects of an organization: renamed, described, deleted. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { resume, session } from "../../api/session.ts";
import type { ProjectResponse } from "../../api/types.d.ts";
import { ago, fullInstant } from "../../lib/format.ts";
import { announce, Button, Dialog, Failed, Form, valueTo } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Confirm, type Question } from "../../ui/Confirm.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { Rows } from "../../ui/SubPages.tsx";
import { NewProject } from "../home/NewProject.tsx";
import { GROUP, lacking, type Place } from "./Organization.tsx";
import { useCurl } from "../../ui/useCurl.ts";

export function Projects({ id, path, role }: Place): JSX.Element {
  const answer = useRead<ProjectResponse[]>(`${path}/projects`);
  useCurl(GROUP, "the projects", `${path}/projects`);
  const [edited, edit] = useState<ProjectResponse | null>(null);
  const [question, ask] = useState<Question | null>(null);
  const now = session.value;
  const mine = now.state === "in" ? now.organizations.filter((one) => one.id === id && one.canManage) : [];
  const remove = (one: ProjectResponse): void =>
    ask({
      title: `Delete ${one.name}?`,
      text: "The project with all its traces, sessions, scores, runs, monitors and datasets is hidden at once and deleted soon. This can’t be undone.",
      act: "Delete the project",
      done: `Deleted ${one.name}`,
      word: one.name,
      run: async () => {
        await request("DELETE", `${path}/projects/${one.id}`);
        await Promise.all([invalidate(path), resume()]);
      },
    });
  return (
    <>
      {mine.length > 0 && <p><NewProject organizations={mine} /></p>}
      <Rows
        label="Projects"
        answer={answer}
        rows={answer.data}
        keyOf={(one) => one.id}
        empty="No projects"
        cells={[
          ["Name", (one) => <><Link href={`/p/${one.id}/traces`}>{one.name}</Link> <small>{one.description}</small></>],
          ["Made", (one) => <span title={fullInstant(one.created_at)}>{ago(one.created_at)}</span>],
          ["Traces are kept", (one) => <Link href={`/p/${one.id}/data`}>{one.retention_days === null ? "for ever" : `${one.retention_days} days`}</Link>],
          [
            "!Acts",
            (one) => (
              <span class="actions">
                <Button class="link" disabled={lacking(role, "ADMIN") !== undefined} title={lacking(role, "ADMIN")} onClick={() => edit(one)}>Change …</Button>
                <Button class="link danger" disabled={lacking(role, "OWNER") !== undefined} title={lacking(role, "OWNER")} onClick={() => remove(one)}>Delete …</Button>
              </span>
            ),
          ],
        ]}
      />
      {edited && <Edit path={path} one={edited} close={() => edit(null)} />}
      {question && <Confirm {...question} close={() => ask(null)} />}
    </>
  );
}

function Edit({ path, one, close }: { path: string; one: ProjectResponse; close: () => void }): JSX.Element {
  const [name, setName] = useState(one.name);
  const [description, setDescription] = useState(one.description);
  const sending = useSending(["name", "description"]);
  const save = async (): Promise<void> => {
    await request("PATCH", `${path}/projects/${one.id}`, { body: { name: name.trim(), description } });
    announce("Saved the project");
    await Promise.all([invalidate(path), resume()]);
    close();
  };
  return (
    <Dialog title={`Project ${one.name}`} close={close}>
      <Form send={() => sending.send(save)}>
        <Field label="Name" hint="Programs name the project by it" problem={sending.problemOf("name")}>
          {(own) => <input {...own} required autoFocus value={name} onInput={valueTo(setName)} />}
        </Field>
        <Field label="Description" problem={sending.problemOf("description")}>
          {(own) => <input {...own} value={description} onInput={valueTo(setDescription)} />}
        </Field>
        <p class="actions"><Button type="submit" class="main" disabled={sending.isBusy}>Save</Button></p>
      </Form>
      <Failed of={sending} />
    </Dialog>
  );
}
