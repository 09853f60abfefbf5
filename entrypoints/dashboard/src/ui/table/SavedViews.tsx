/** The views that a person named in this browser. Each is a link, so it can be sent to others. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { projectId } from "../../api/session.ts";
import { dropView, savedViews, saveView } from "../../lib/saved-views.ts";
import { viewOf } from "../../lib/stored-views.ts";
import { announce, Button, Form, valueTo } from "../basics.tsx";
import { Link } from "../Link.tsx";
import { projectPath } from "../Shell.tsx";

export function SavedViews(): JSX.Element {
  const [name, setName] = useState("");
  const project = projectId.value ?? "";
  const views = savedViews(project);
  const here = viewOf(location.search);
  return (
    <details class="menu">
      <summary>Views</summary>
      <div class="pop">
        {views.length === 0 && <p class="hint">No saved view yet.</p>}
        <ul>
          {views.map((view) => (
            <li key={view.name} class="saved">
              <Link href={`${projectPath("traces")}${view.search}`} aria-current={view.search === here ? "page" : undefined}>
                {view.name}
              </Link>
              <Button class="quiet" icon="close" label={`Forget the view ${view.name}`} onClick={() => dropView(project, view.name)} />
            </li>
          ))}
        </ul>
        <Form send={() => {
            saveView(project, name, location.search);
            announce(`Saved the view ${name.trim()} in this browser`);
            setName("");
          }}>
          <input required pattern=".*\S.*" maxLength={80} aria-label="Name of this view" placeholder="Name of this view" value={name} onInput={valueTo(setName)} />
          <Button type="submit">Save</Button>
        </Form>
        <p class="hint">Kept in this browser. The address of a view can be sent to others.</p>
      </div>
    </details>
  );
}
