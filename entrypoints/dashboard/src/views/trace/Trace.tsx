/** A trace: header, tree and waterfall, and the detail of what is selected. */
import type { JSX } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { Failure, request } from "../../api/client.ts";
import { invalidate } from "../../api/queries.ts";
import type { FoundWithinResponse } from "../../api/types.d.ts";
import { readTraceLine } from "../../api/whole-trace.ts";
import { may, project, projectId, scopeHint } from "../../api/session.ts";
import { ago, cost, costHint, count, duration, fullInstant, instant, latencyHint, percent, plural } from "../../lib/format.ts";
import { offerFocus, useCommands } from "../../lib/keys.ts";
import type { TraceOutline } from "../../lib/outline.ts";
import { parseFind } from "../../lib/filters.ts";
import { gapsOf, TimeScale } from "../../lib/chart/scale.ts";
import { shownList } from "../../lib/shown-list.ts";
import { criticalPath, keepMatches, visibleRows, type Tree } from "../../lib/tree.ts";
import { Button, Dialog, Empty, Guarded, Loading, Status, announce, copy, useTitle, Failed, Form, valueTo, Select } from "../../ui/basics.tsx";
import { Link } from "../../ui/Link.tsx";
import { gridHelp, handleGridKey } from "../../ui/table/grid-keys.ts";
import { Minimap } from "../../ui/chart/Minimap.tsx";
import { Payload } from "../../ui/payload/Payload.tsx";
import { save } from "../../ui/save.ts";
import { Scores } from "../../ui/Scores.tsx";
import { projectPath } from "../../ui/Shell.tsx";
import { Modes } from "../../ui/Modes.tsx";
import { Splitter } from "../../ui/Splitter.tsx";
import { TreeGrid, type Zoom } from "../../ui/table/TreeGrid.tsx";
import { useUrlState, type UrlState } from "../../url/state.ts";
import { AddScore } from "../scores/AddScore.tsx";
import { CompareWith, Neighbours } from "./Neighbours.tsx";
import { Share } from "./Share.tsx";
import { SpanDetail, TABS, Tabs, type SameName } from "./SpanDetail.tsx";
import { SpanList } from "./SpanList.tsx";
import { TraceChat } from "./TraceChat.tsx";
import { useOutline } from "./useOutline.ts";
import { useTextSearch } from "./useTextSearch.ts";
import { copyCurl, useCurl } from "../../ui/useCurl.ts";

export function Trace({ id, isPeek = false }: { id: string; isPeek?: boolean }): JSX.Element {
  const { answer, outline, tree } = useOutline(id);
  useTitle(outline?.trace.name ?? "Trace", isPeek ? "Traces" : "Trace", project.value?.name);
  if (answer.isError && outline === null) {
    const missing = answer.error instanceof Failure && [404, 422].includes(answer.error.status);
    return missing ? (
      <Empty title="This trace isn’t here, or isn’t yours" isPage>
        <p>
          <code>{id}</code>
        </p>
        <Link href={projectPath("traces")}>All traces</Link>
      </Empty>
    ) : (
      <Failed of={answer} />
    );
  }
  if (outline === null || tree === null) return <Loading what="the trace" />;
  return <Loaded id={id} outline={outline} tree={tree} isPeek={isPeek} />;
}

interface LoadedProps {
  id: string;
  outline: TraceOutline;
  tree: Tree;
  isPeek: boolean;
}

function Loaded(props: LoadedProps): JSX.Element {
  const { id, outline, tree, isPeek } = props;
  const url = useUrlState();
  useCurl("Trace", "the trace", isPeek ? null : `traces/${id}`);
  const [share, setShare] = useState(58);
  const box = useRef<HTMLDivElement>(null);
  const span = url.params.get("span");
  const seen = useRef(outline.revision);
  useEffect(() => {
    if (seen.current !== outline.revision) void invalidate(`traces/${id}/spans`); // they changed with it
    seen.current = outline.revision;
  }, [outline.revision]);
  return (
    <div class={`trace ${isPeek ? "is-peek" : ""}`}>
      <Header {...props} url={url} />
      <div class="split" ref={box} style={{ "--left": `${share}%` } as JSX.CSSProperties}>
        <Guarded name={`tree ${id}`}>
          <Spans {...props} url={url} />
        </Guarded>
        <Splitter label="Width of the tree" value={share} change={setShare} box={() => box.current} />
        <section class="side" aria-label="Detail of the selection">
          <Guarded name={`detail ${span}`}>
            {span !== null && outline.span_id.includes(span) ? (
              <SpanDetail key={span} trace={id} span={span} before={callBefore(outline, span)} same={sameName(outline, span)} tokens={outline.tokens[outline.span_id.indexOf(span)] ?? 0} url={url} />
            ) : (
              <>
                {span !== null && <p class="problem">This trace has no span {span}.</p>}
                <TraceDetail id={id} name={outline.trace.name} version={outline.revision} url={url} />
              </>
            )}
          </Guarded>
        </section>
      </div>
      <Announcer outline={outline} size={tree.size} />
    </div>
  );
}

/** The model call that began before this one. */
function callBefore(outline: TraceOutline, span: string): string | null {
  const llm = outline.kinds.indexOf("LLM");
  const at = outline.span_id.indexOf(span);
  if (at < 0 || outline.kind[at] !== llm) return null;
  for (let index = at - 1; index >= 0; index--) {
    if (outline.kind[index] === llm) return outline.span_id[index]!;
  }
  return null;
}

function sameName(outline: TraceOutline, span: string): SameName {
  const at = outline.span_id.indexOf(span);
  const all = outline.name.flatMap((name, index) => (name === outline.name[at] ? [index] : []));
  const place = all.indexOf(at);
  const idAt = (index: number): string | null => outline.span_id[all[index] ?? -1] ?? null;
  return { position: place + 1, of: all.length, previous: idAt(place - 1), next: idAt(place + 1) };
}

/** What changed of a trace that grows is said once. */
function Announcer({ outline, size }: { outline: TraceOutline; size: number }): JSX.Element {
  const before = useRef({ size, status: outline.trace.status });
  const [text, setText] = useState("");
  useEffect(() => {
    const { size: old, status } = before.current;
    if (old !== size || status !== outline.trace.status) {
      setText(`${plural(size, "span")}, ${outline.trace.status.toLowerCase()}`);
    }
    before.current = { size, status: outline.trace.status };
  }, [size, outline.trace.status]);
  return (
    <p class="sr" role="status">
      {text}
    </p>
  );
}

function Header({ id, outline, tree, isPeek, url }: LoadedProps & { url: UrlState }): JSX.Element {
  const [deleting, setDeleting] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [, navigate] = useLocation();
  const { trace } = outline;
  const remove = async (): Promise<void> => {
    try {
      await request("DELETE", `traces/${id}`);
      announce("Deleted the trace");
      navigate(projectPath("traces"));
      await invalidate("traces");
    } catch (reason) {
      setError(reason);
    }
  };
  const Title = isPeek ? "h2" : "h1";
  const unpriced = trace.unpriced_span_count;
  return (
    <header class="trace-head">
      <div class="title">
        {!isPeek && (
          <Link href={`${projectPath("traces")}${listQuery()}`} class="back" aria-label="All traces">
            Traces /
          </Link>
        )}
        <Title>{trace.name}</Title>
        <Status value={trace.status} />
        {!isPeek && (
          <span class="actions">
            <Neighbours trace={trace} />
            <CompareWith trace={trace} />
            <AddScore trace={id} span={null} />
            <Button class={url.params.get("span") === null ? "on" : ""} onClick={() => url.update({ span: null }, { push: true })}>
              Whole trace
            </Button>
            <details class="menu">
              <summary>More</summary>
              <div class="pop">
                <Button class="link" onClick={() => url.update({ dialog: "share" })}>Share …</Button>
                <Button class="link" onClick={() => void copy(location.href, "Copied the link")}>Copy link</Button>
                <Button class="link" onClick={() => void copy(id, "Copied the id")}>Copy id</Button>
                <Button class="link" onClick={() => copyCurl(`traces/${id}`)}>Copy as curl</Button>
                <Button class="link" onClick={() => void download(id)}>Download as JSON</Button>
                <Button class="link danger" disabled={!may("ingest") || !may("read")} title={scopeHint("ingest", "read")} onClick={() => setDeleting(true)}>Delete …</Button>
              </div>
            </details>
          </span>
        )}
      </div>
      <dl class="facts">
        <Item name="Started"><time dateTime={trace.started_at} title={fullInstant(trace.started_at)}>{instant(trace.started_at)} · {ago(trace.started_at)}</time></Item>
        <Item name="Latency"><span title={latencyHint(trace)}>{duration(trace.latency_ms)}</span></Item>
        <Item name="Spans">{tree.size < outline.total ? `${count(tree.size)} of ${count(outline.total)}` : count(outline.total)}</Item>
        <Item name="Tokens">{count(trace.total_tokens)}</Item>
        <Item name="Cost"><span title={costHint(trace.total_cost, unpriced)}>{cost(trace.total_cost, unpriced)}{unpriced ? ` · ${plural(unpriced, "span")} unpriced` : ""}</span></Item>
        {trace.session_id && <Item name="Session"><Link href={`${projectPath("sessions")}/${encodeURIComponent(trace.session_id)}`}>{trace.session_id}</Link></Item>}
        {trace.user_id && <Item name="User"><Link href={`${projectPath("traces")}?user_id=${encodeURIComponent(trace.user_id)}`}>{trace.user_id}</Link></Item>}
        {trace.environment && <Item name="Environment">{trace.environment}</Item>}
        {trace.release && <Item name="Release">{trace.release}</Item>}
        <Item name="Tags">
          <Tags id={id} tags={trace.tags} />
        </Item>
      </dl>
      {!isPeek && url.params.get("dialog") === "share" && <Share id={id} close={() => url.update({ dialog: null })} />}
      {deleting && (
        <Dialog title={`Delete ${trace.name}?`} close={() => setDeleting(false)}>
          <p>
            The trace, its {plural(outline.total, "span")} and its scores are deleted. This can’t be undone.
          </p>
          <p class="actions">
            <Button autoFocus onClick={() => setDeleting(false)}>Cancel</Button>
            <Button class="danger" onClick={() => void remove()}>Delete the trace</Button>
          </p>
          <Failed of={{ error }} />
        </Dialog>
      )}
    </header>
  );
}

/** The trace with its spans and scores, as a line of an export. */
async function download(id: string): Promise<void> {
  try {
    save(new Blob([await readTraceLine(id), "\n"], { type: "application/json" }), `trace-${id}.json`);
  } catch (reason) {
    announce(reason instanceof Error ? reason.message : String(reason));
  }
}

/** The query of the list from which the trace was opened. */
function listQuery(): string {
  const list = shownList.value;
  return list?.project === projectId.value ? list.search : "";
}

function Tags({ id, tags }: { id: string; tags: readonly string[] }): JSX.Element {
  const [editing, edit] = useState(false);
  const [text, setText] = useState("");
  const [error, setError] = useState<unknown>(null);
  const save = async (): Promise<void> => {
    const given = [...new Set(text.split("\n").map((tag) => tag.trim()).filter(Boolean))];
    try {
      await request("PATCH", `traces/${id}`, { body: { tags: given } });
      edit(false);
      announce("Saved the tags");
      await invalidate("traces");
    } catch (reason) {
      setError(reason);
    }
  };
  return (
    <>
      {tags.map((tag) => (
        <span class="tag" key={tag}>
          {tag}
        </span>
      ))}
      <Button
        class="link"
        disabled={!may("ingest")}
        title={scopeHint("ingest")}
        onClick={() => {
          setText(tags.join("\n"));
          setError(null);
          edit(true);
        }}
      >
        {tags.length > 0 ? "Edit tags" : "Add tags"}
      </Button>
      {editing && (
        <Dialog title="Tags of the trace" close={() => edit(false)}>
          <Form send={save}>
            <label>
              Tags, one on each line
              <textarea autoFocus rows={4} value={text} onInput={valueTo(setText)} />
            </label>
            <p class="actions">
              <Button type="submit" class="main">
                Save
              </Button>
            </p>
          </Form>
          <Failed of={{ error }} />
        </Dialog>
      )}
    </>
  );
}

function Item({ name, children }: { name: string; children: JSX.Element | JSX.Element[] | string }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function TraceDetail({ id, name, version, url }: { id: string; name: string; version: string; url: UrlState }): JSX.Element {
  const names = ["io", "metadata", "scores"];
  const chosen = url.params.get("tab") ?? "io";
  const tab = names.includes(chosen) ? chosen : "io";
  const payload = (label: string, part: string): JSX.Element => (
    <Payload source={{ label, path: `traces/${id}/${part}`, text: null, total: null, version }} name={name} url={url} />
  );
  return (
    <div class="detail">
      <header>
        <h2>The whole trace</h2>
      </header>
      <Tabs url={url} names={names} />
      <div role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
        {tab === "io" && (
          <div class="io">
            {payload("Input", "input")}
            {payload("Output", "output")}
          </div>
        )}
        {tab === "metadata" && payload("Metadata", "metadata")}
        {tab === "scores" && <Scores path={`evaluations/trace-scores/${id}`} />}
      </div>
    </div>
  );
}

const VIEWS: Record<string, string> = { both: "Tree + time", tree: "Tree", list: "List", chat: "Model calls" };

export function Spans({ id: trace, outline, tree, url, isPeek, hasChat = true }: LoadedProps & { url: UrlState; hasChat?: boolean }): JSX.Element {
  const { params, update } = url;
  const [collapsed, setCollapsed] = useState<ReadonlySet<number>>(new Set());
  const [nameShare, setNameShare] = useState(36);
  const box = useRef<HTMLDivElement>(null);
  const find = useRef<HTMLInputElement>(null);
  const shown = params.get("view") ?? (isPeek ? "tree" : "both");
  const { words: wanted, minUs } = parseFind(params.get("q") ?? "");
  const onlyKind = params.get("kind");
  const onlyFailed = params.get("failed") === "1";
  const isFiltered = wanted !== "" || minUs > 0 || onlyKind !== null || onlyFailed;
  const texts = useTextSearch(trace, wanted, hasChat);
  const matches = useMemo(() => {
    if (!isFiltered) return null;
    const names = outline.names.map((name) => name.toLowerCase().includes(wanted));
    const models = outline.models.map((model) => model.toLowerCase().includes(wanted));
    return keepMatches(tree, (row) => {
      const span = tree.span[row]!;
      const model = outline.model[span];
      if (onlyFailed && !outline.has_error[span]) return false;
      if (minUs > 0 && (outline.latency_us[span] ?? 0) < minUs) return false;
      if (onlyKind !== null && outline.kinds[outline.kind[span]!] !== onlyKind) return false;
      return wanted === "" || names[outline.name[span]!]! || (model != null && models[model]!) || texts.found.has(outline.span_id[span]!);
    });
  }, [outline, tree, wanted, minUs, onlyKind, onlyFailed, texts.found]);
  const rows = useMemo(() => visibleRows(tree, collapsed, matches), [tree, collapsed, matches]);
  const found = useMemo(() => (matches ? rowsWhere(tree.size, (row) => matches[row] === 2) : []), [matches]);
  const errors = useMemo(() => rowsWhere(tree.size, (row) => outline.has_error[tree.span[row]!] ?? false), [tree, outline]);
  const selectedId = params.get("span");
  const selectedSpan = selectedId === null ? -1 : outline.span_id.indexOf(selectedId);
  const selected = selectedSpan < 0 ? -1 : tree.row[selectedSpan]!;
  const critical = useMemo(() => (params.get("path") === "1" ? criticalPath(tree) : null), [tree, params.get("path")]);
  const whole = useMemo<Zoom>(() => ({ from: Math.min(0, tree.from), to: Math.max(tree.to, tree.from + 1) }), [tree]);
  const zoom = parseZoom(params.get("zoom"), whole);
  const gaps = useMemo(() => gapsOf(tree), [tree]);
  const isFolded = params.get("fold") === "1" && gaps.length > 0;
  const timeScale = useMemo(() => new TimeScale(isFolded ? gaps : [], whole), [gaps, isFolded, whole]);
  const idle = gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0) / (whole.to - whole.from);
  const setZoom = (next: Zoom | null): void =>
    update({ zoom: next === null ? null : `${Math.round(next.from)}-${Math.round(next.to)}` });
  const select = useCallback(
    (row: number): void => {
      const id = outline.span_id[tree.span[row]!];
      if (id === undefined) return;
      setCollapsed((before) => opened(tree, before, row));
      update({ span: id });
    },
    [outline, tree, update],
  );
  const toggle = (row: number): void =>
    setCollapsed((before) => {
      const next = new Set(before);
      if (!next.delete(row)) next.add(row);
      return next;
    });
  const toggleSubtree = (row: number, open: boolean): void =>
    setCollapsed((before) => {
      const next = new Set(before);
      for (let at = row; at < row + tree.extent[row]!; at++) {
        if (open) next.delete(at);
        else if (tree.extent[at]! > 1) next.add(at);
      }
      return next;
    });
  const toggleAll = (): void =>
    setCollapsed((before) => (before.size > 0 ? new Set() : new Set(rowsWhere(tree.size, (row) => tree.extent[row]! > 1))));
  const step = (list: readonly number[], by: 1 | -1, what: string): void => {
    if (list.length === 0) return announce(`No ${what}`);
    const next = by > 0 ? (list.find((row) => row > selected) ?? list[0]!) : (list.findLast((row) => row < selected) ?? list.at(-1)!);
    select(next);
  };
  const fit = (row: number): void => {
    const [from, to] = [tree.start[row]!, tree.isOpen[row] === 1 ? tree.to : tree.end[row]!];
    const margin = Math.max(1, (to - from) * 0.02);
    setZoom({ from: from - margin, to: to + margin });
  };
  const scaleAt = (us: number, factor: number): void => {
    const [low, high, center] = [timeScale.place(zoom.from), timeScale.place(zoom.to), timeScale.place(us)];
    const next = { from: timeScale.instant(center - (center - low) * factor), to: timeScale.instant(center + (high - center) * factor) };
    setZoom(next.to - next.from >= whole.to - whole.from ? null : next);
  };
  const scale = (factor: number): void => {
    const middle = timeScale.instant((timeScale.place(zoom.from) + timeScale.place(zoom.to)) / 2);
    const start = selected >= 0 && shown === "both" ? tree.start[selected]! : middle;
    scaleAt(start < zoom.from || start > zoom.to ? middle : start, factor);
  };
  const pan = (by: number): void => {
    const [low, high] = [timeScale.place(zoom.from), timeScale.place(zoom.to)];
    const move = (high - low) * by;
    setZoom({ from: timeScale.instant(low + move), to: timeScale.instant(high + move) });
  };
  const onKey = (event: KeyboardEvent): void => {
    const height = box.current?.querySelector(".treegrid")?.clientHeight ?? 400;
    handleGridKey(event, { rows, tree, chosen: selected, collapsed, isFiltered, height, select, toggle, toggleSubtree });
  };
  const group = "Trace";
  useCommands(
    isPeek
      ? []
      : [
          { keys: "/", label: "Find spans by name, model or words in their texts", group, run: () => find.current?.focus() },
          ...gridHelp(group, true),
          { keys: "e", label: "Next failed span", group, run: () => step(errors, 1, "failed span") },
          { keys: "Shift+e", label: "Previous failed span", group, run: () => step(errors, -1, "failed span") },
          { keys: "n", label: "Next match", group, run: () => step(found, 1, "match") },
          { keys: "Shift+n", label: "Previous match", group, run: () => step(found, -1, "match") },
          { keys: "*", label: "Collapse all, expand all", group, run: toggleAll },
          { keys: "+", label: "Zoom in", group, run: () => scale(0.5) },
          { keys: "-", label: "Zoom out", group, run: () => scale(2) },
          { keys: "0", label: "Show the whole time", group, run: () => setZoom(null) },
          { keys: "h", label: "Move to the left", group, run: () => pan(-0.2) },
          { keys: "Shift+h", label: "Move to the right", group, run: () => pan(0.2) },
          { keys: "w", label: "Fold time without activity, or not", group, run: () => update({ fold: isFolded ? null : "1" }) },
          { keys: "p", label: "Critical path on or off", group, run: () => update({ path: params.get("path") ? null : "1" }) },
          ...(hasChat ? [{ keys: "Shift+y", label: "Share the trace …", group, run: () => update({ dialog: "share" }) }] : []),
          { keys: "v", label: "Next rendering of the payload", group, run: () => nextRendering() },
          ...TABS.map((tab, index) => ({
            keys: String(index + 1),
            label: `Tab ${index + 1} of the detail`,
            group,
            hidden: true,
            run: () => update({ tab: index === 0 ? null : tab }),
          })),
          { keys: "Escape", label: "Clear the filter, then the selection", group, hidden: true, run: () => (isFiltered ? update({ q: null, kind: null, failed: null }) : update({ span: null })) },
        ],
  );
  useEffect(() => {
    if (!isPeek) offerFocus(box.current?.querySelector<HTMLElement>(".treegrid"));
  }, []);
  return (
    <section class="spans" ref={box} aria-label="Spans of the trace">
      <div class="toolbar">
        <input
          ref={find}
          type="search"
          aria-label={`Find spans by name${hasChat ? ", model or words in their texts" : " or model"}, or >500ms`}
          placeholder={hasChat ? "Find names, texts, >500ms" : "Find spans, or >500ms"}
          value={params.get("q") ?? ""}
          onInput={(event) => update({ q: event.currentTarget.value || null })}
          onKeyDown={(event) => {
            if (event.key === "Enter") step(found, event.shiftKey ? -1 : 1, "match");
            else if (event.key === "Escape") event.currentTarget.blur();
          }}
        />
        {isFiltered && (
          <span role="status" title={texts.problem ? `Payloads weren’t searched: ${texts.problem}` : ""}>
            {texts.isAtLeast && "at least "}
            {plural(found.length, "match", "matches")}
            {texts.isLoading ? " …" : texts.problem ? " by name" : !texts.isComplete && ", not all texts searched"}
          </span>
        )}
        <Select aria-label="Kind" value={onlyKind} choose={(value) => update({ kind: value || null })} options={[["", "All kinds"], ...outline.kinds.map((kind) => [kind, kind.toLowerCase()])]} />
        {errors.length > 0 && (
          <Button class="bad-text" aria-pressed={onlyFailed} onClick={() => update({ failed: onlyFailed ? null : "1" })}>
            {count(errors.length)} failed
          </Button>
        )}
        {!isPeek && (
          <>
            <Button aria-pressed={critical !== null} onClick={() => update({ path: critical ? null : "1" })}>
              Critical path
            </Button>
            {shown === "both" && gaps.length > 0 && (
              <Button aria-pressed={isFolded} title="Folds time in which no span without children ran (w)" onClick={() => update({ fold: isFolded ? null : "1" })}>
                Fold idle time, {percent(idle, 1)}
              </Button>
            )}
            <Modes label="View" of={Object.keys(VIEWS).filter((one) => hasChat || one !== "chat")} at={shown} text={(one) => VIEWS[one]!} choose={(one) => update({ view: one === "both" ? null : one })} />
            {shown === "both" && (
              <label class="name-width" title="Width of the names">
                <span class="sr">Width of the names</span>
                <input type="range" min={20} max={75} value={nameShare} onInput={(event) => setNameShare(Number(event.currentTarget.value))} />
              </label>
            )}
            {params.get("zoom") && <Button icon="fit" label="Show the whole time (0)" onClick={() => setZoom(null)} />}
          </>
        )}
      </div>
      <Matches found={texts.found.get(selectedId ?? "")} />
      {shown === "both" && tree.size > 0 && <Minimap outline={outline} tree={tree} zoom={zoom} whole={whole} scale={timeScale} setZoom={setZoom} />}
      {shown === "chat" && hasChat ? (
        <TraceChat id={trace} outline={outline} tree={tree} matches={matches} selected={selected} select={select} url={url} />
      ) : shown === "list" ? (
        <SpanList outline={outline} tree={tree} matches={matches} selected={selected} select={select} url={url} />
      ) : (
        <TreeGrid
          outline={outline}
          tree={tree}
          rows={rows}
          collapsed={collapsed}
          isFiltered={isFiltered}
          matches={matches}
          selected={selected}
          critical={critical}
          zoom={zoom}
          scale={timeScale}
          showBars={shown === "both"}
          nameShare={nameShare}
          select={select}
          toggle={toggle}
          onKey={onKey}
          fit={fit}
          scaleAt={scaleAt}
        />
      )}
    </section>
  );
}

/** Where the words are in what is selected. */
function Matches({ found }: { found: FoundWithinResponse | undefined }): JSX.Element | null {
  if (!found) return null;
  return (
    <p class="matches">
      {found.matches.map(({ field, snippet }) => (
        <span key={field}>
          {field}: <q>{snippet.map((part, index) => (part.is_match ? <mark key={index}>{part.text}</mark> : part.text))}</q>
        </span>
      ))}
    </p>
  );
}

function nextRendering(): void {
  const modes = [...document.querySelectorAll<HTMLButtonElement>(".payload .modes button")];
  const at = modes.findIndex((one) => one.getAttribute("aria-pressed") === "true");
  const siblings = modes.filter((one) => one.parentElement === modes[at]?.parentElement);
  const own = siblings.findIndex((one) => one === modes[at]);
  siblings[(own + 1) % Math.max(1, siblings.length)]?.click();
}

function rowsWhere(size: number, isWanted: (row: number) => boolean): number[] {
  const found: number[] = [];
  for (let row = 0; row < size; row++) if (isWanted(row)) found.push(row);
  return found;
}

/** The collapsed rows without the ancestors of this one. */
function opened(tree: Tree, collapsed: ReadonlySet<number>, row: number): ReadonlySet<number> {
  let next: Set<number> | null = null;
  for (let at = tree.parent[row]!; at >= 0; at = tree.parent[at]!) {
    if (!collapsed.has(at)) continue;
    next ??= new Set(collapsed);
    next.delete(at);
  }
  return next ?? collapsed;
}

function parseZoom(text: string | null, whole: Zoom): Zoom {
  const found = /^(-?\d+)-(-?\d+)$/.exec(text ?? "");
  const zoom = found ? { from: Number(found[1]), to: Number(found[2]) } : whole;
  return zoom.to > zoom.from ? zoom : whole;
}
