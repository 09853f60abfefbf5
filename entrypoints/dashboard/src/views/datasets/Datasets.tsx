/** The datasets of a project. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { request } from "../../api/client.ts";
import { invalidate, useRead } from "../../api/queries.ts";
import { may, project, scopeHint } from "../../api/session.ts";
import type { DatasetResponse } from "../../api/types.d.ts";
import { ago, count, fullInstant, plural } from "../../lib/format.ts";
import { Button, Dialog, Empty, Loading, useTitle, Failed, Form, valueTo } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { Field, useSending } from "../../ui/Field.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { Head } from "../../ui/Head.tsx";
import { useCurl } from "../../ui/useCurl.ts";

export function datasetPath(name: string): string {
  return projectPath(`datasets/${encodeURIComponent(name)}`);
}

export function Datasets(): JSX.Element {
  useTitle("Datasets", project.value?.name);
  useCurl("Datasets", "the list", "datasets");
  const found = useRead<DatasetResponse[]>("datasets");
  const [isMaking, make] = useState(false);
  const rows = found.data ?? [];
  return (
    <div class="list-main scrolled">
      <header class="title">
        <h1>Datasets</h1>
        <span class="total" role="status">{found.isSuccess ? plural(rows.length, "dataset") : ""}</span>
        <Button icon="plus" disabled={!may("evaluate")} title={scopeHint("evaluate")} onClick={() => make(true)}>New dataset …</Button>
      </header>
      <Failed of={found} />
      {found.isPending && <Loading what="datasets" />}
      {found.isSuccess && rows.length === 0 && (
        <Empty title="No dataset yet">
          <p>A dataset has the test cases of an experiment. Make one, then add traces to it from the list of traces.</p>
        </Empty>
      )}
      {rows.length > 0 && (
        <div class="scroll-x">
          <table class="plain-table">
            <Head of={["Name", "Description", "Items", "Version", "Changed"]} />
            <tbody>
              {rows.map((row) => (
                <tr key={row.id}>
                  <th scope="row"><Link href={datasetPath(row.name)}>{row.name}</Link></th>
                  <td>{row.description}</td>
                  <td>{count(row.items)}</td>
                  <td>{count(row.version_number)}</td>
                  <td><time title={fullInstant(row.updated_at)}>{ago(row.updated_at)}</time></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {isMaking && <NewDataset close={() => make(false)} />}
    </div>
  );
}

function NewDataset({ close }: { close: () => void }): JSX.Element {
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const [, navigate] = useLocation();
  const sending = useSending(["name", "description"]);
  const create = async (): Promise<void> => {
    const isMade = await sending.send(() => request("POST", "datasets", { body: { name, description } }));
    if (!isMade) return;
    await invalidate("datasets");
    navigate(datasetPath(name));
  };
  return (
    <Dialog title="New dataset" close={close}>
      <Form send={create}>
        <Field label="Name" hint="Lower-case letters, digits, . _ and -" problem={sending.problemOf("name")}>
          {(own) => <input {...own} required autoFocus maxLength={100} value={name} onInput={valueTo(setName)} />}
        </Field>
        <Field label="Description" problem={sending.problemOf("description")}>
          {(own) => <input {...own} maxLength={500} value={description} onInput={valueTo(setDescription)} />}
        </Field>
        <p class="actions"><Button type="submit" class="main" disabled={sending.isBusy}>Create</Button></p>
        <Failed of={sending} />
      </Form>
    </Dialog>
  );
}
