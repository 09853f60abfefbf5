/** Two payloads: JSON by path, or texts line by line. */
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { textOf } from "../../lib/payload/chat.ts";
import { bytes, plural, startOf } from "../../lib/format.ts";
import { indented, jsonChanges, type JsonChange } from "../../lib/payload/json-diff.ts";
import { textBlocks, type Block, type Piece } from "../../lib/payload/text-diff.ts";
import { Button } from "../basics.tsx";
import { Modes } from "../Modes.tsx";
import { LongText } from "../LongText.tsx";

const SHOWN_LENGTH = 20_000; // of each side, where no comparison is possible

interface DiffProps {
  label: string;
  left: string | null; // JSON text as stored; null if there is none
  right: string | null;
  as: string | null; // `lines` or `paths`
  choose: (as: string) => void;
}

export function Diff({ label, left, right, as, choose }: DiffProps): JSX.Element {
  const isNone = (text: string | null): boolean => text === null || text === "null" || text === "";
  const changes = useMemo(() => (left === null || right === null ? null : jsonChanges(left, right)), [left, right]);
  const plain = useMemo(() => [plainOf(left), plainOf(right)] as const, [left, right]);
  const canBePaths = changes !== null && !(plain[0] !== null && plain[1] !== null);
  const shown = canBePaths && as !== "lines" ? "paths" : "lines";
  const isSame = left === right || changes?.changes.length === 0;
  return (
    <section class="payload diff" aria-label={label}>
      <header>
        <h3>{label}</h3>
        {isNone(left) && isNone(right) ? (
          <span class="none">none</span>
        ) : isSame ? (
          <span class="none">the same, {bytes(left?.length)}</span>
        ) : (
          canBePaths && (
            <Modes label={`Compare ${label.toLowerCase()} by`} of={["paths", "lines"]} at={shown} text={(one) => (one === "paths" ? "Paths" : "Lines")} choose={choose} />
          )
        )}
      </header>
      {!isSame && !(isNone(left) && isNone(right)) &&
        (shown === "paths" && changes ? (
          <Paths changes={changes.changes} isCut={changes.isCut} />
        ) : (
          <Lines left={plain[0] ?? pretty(left)} right={plain[1] ?? pretty(right)} />
        ))}
    </section>
  );
}

/** The text of a payload that is only text. */
function plainOf(text: string | null): string | null {
  return text === null ? "" : text.trimStart().startsWith('"') ? textOf(text) : null;
}

function pretty(text: string | null): string {
  if (text === null) return "";
  try {
    return indented(text);
  } catch {
    return text; // not JSON
  }
}

function Paths({ changes, isCut }: { changes: readonly JsonChange[]; isCut: boolean }): JSX.Element {
  return (
    <>
      <dl class="paths">
        {changes.map((one) => (
          <div key={one.path}>
            <dt>
              <code>{one.path || "the whole value"}</code>
            </dt>
            <dd>
              {one.isText ? (
                <Lines left={one.left ?? ""} right={one.right ?? ""} />
              ) : (
                <>
                  {one.left === null ? <span class="none">absent</span> : <del><LongText text={one.left} /></del>}
                  <span aria-hidden="true"> → </span>
                  {one.right === null ? <span class="none">absent</span> : <ins><LongText text={one.right} /></ins>}
                </>
              )}
            </dd>
          </div>
        ))}
      </dl>
      {isCut && <p class="hint">These are the first {plural(changes.length, "difference")}; there are more.</p>}
    </>
  );
}

function Lines({ left, right }: { left: string; right: string }): JSX.Element {
  const blocks = useMemo(() => textBlocks(left, right), [left, right]);
  if (blocks === null) {
    return (
      <>
        <p class="hint">They differ too much to be compared line by line.</p>
        <div class="both">
          {[left, right].map((text, index) => (
            <pre key={index} class="raw" role="group" tabIndex={0} aria-label={index === 0 ? "Left" : "Right"}>
              <LongText text={startOf(text, SHOWN_LENGTH)} />
              {text.length > SHOWN_LENGTH && ` … the first ${bytes(SHOWN_LENGTH)} of ${bytes(text.length)}`}
            </pre>
          ))}
        </div>
      </>
    );
  }
  return (
    <div class="lines">
      {blocks.map((block, index) => (
        <BlockView key={index} block={block} />
      ))}
    </div>
  );
}

function BlockView({ block }: { block: Block }): JSX.Element {
  const [open, setOpen] = useState(false);
  if (block.kind === "changed") {
    const isWhole = block.pieces.every((one) => one.kind !== "same");
    return <div class={`changed ${isWhole ? "whole" : ""}`}>{block.pieces.map(pieceView)}</div>;
  }
  if (block.kind === "same" || open) return <div>{block.text}</div>;
  return (
    <Button class="link" onClick={() => setOpen(true)}>
      Show {plural(block.lines, "equal line")}
    </Button>
  );
}

function pieceView(piece: Piece, index: number): JSX.Element {
  if (piece.kind === "left") return <del key={index}>{piece.text}</del>;
  if (piece.kind === "right") return <ins key={index}>{piece.text}</ins>;
  return <span key={index}>{piece.text}</span>;
}
