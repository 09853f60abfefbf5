/** One input with completion for all filters; each filter is a chip. */
import type { JSX } from "preact";
import { useId, useRef, useState } from "preact/hooks";
import { useRead } from "../../api/queries.ts";
import type { FacetValueResponse, ScoreSummaryItem, SpanAnalyticsResponse } from "../../api/types.d.ts";
import { FIELDS, OTHER_WORDS, chips, completionOf, otherFilters, parse, periodStart, shownValue, withoutFilters, type Chip } from "../../lib/filters.ts";
import { count, duration } from "../../lib/format.ts";
import { useCommands } from "../../lib/keys.ts";
import type { UrlState } from "../../url/state.ts";
import { Button, Icon } from "../basics.tsx";

interface Option {
  text: string;
  hint: string;
  isWhole: boolean; // choosing it sets the filter
}

export function Filters({ url, label = "Filter traces" }: { url: UrlState; label?: string }): JSX.Element {
  const own = useId();
  const [{ text, at }, setState] = useState({ text: "", at: -1 });
  const [isOpen, setOpen] = useState(false);
  const [problem, setProblem] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const options = useOptions(text, isOpen, url.params);
  const shown = chips(url.params, duration);
  useCommands([
    { keys: "/", label: "Filter", group: "Traces", run: () => input.current?.focus() },
  ]);
  // Both at once: an effect that runs after the next key would undo that key's choice.
  const setText = (text: string): void => setState({ text, at: -1 });
  const setAt = (at: number): void => setState({ text, at });
  const set = (given: string): void => {
    if (given.trim() === "") return;
    const parsed = parse(given, url.params);
    if ("problem" in parsed) return setProblem(parsed.problem);
    setProblem("");
    setText("");
    setOpen(false); // the results are below it
    url.update({ ...parsed.change, peek: null }, { push: true });
  };
  const choose = (option: Option, isExcluded: boolean): void => {
    if (option.isWhole) set(isExcluded && option.text.includes(":") ? `-${option.text.replace(/^-/, "")}` : option.text);
    else setText(option.text);
    input.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const chosen = options[at];
    if (event.key === "ArrowDown") {
      setOpen(true);
      setAt(Math.min(at + 1, options.length - 1));
    } else if (event.key === "ArrowUp") setAt(Math.max(at - 1, -1));
    else if (event.key === "Tab" && chosen && isOpen) choose(chosen, false);
    else if (event.key === "Enter") chosen ? choose(chosen, event.shiftKey) : set(text);
    else if (event.key === "Escape" && text !== "") setText("");
    else if (event.key === "Escape") input.current?.blur();
    else if (event.key === "Backspace" && text === "" && shown.length > 0) {
      url.update(shown.at(-1)!.drop, { push: true });
    } else return;
    event.preventDefault();
  };
  return (
    <div class="filters">
      <Icon name="search" />
      <Chips chips={shown} url={url} />
      <div class="combo">
        <input
          ref={input}
          role="combobox"
          aria-label={label}
          aria-controls={`${own}-options`}
          aria-expanded={isOpen && options.length > 0}
          aria-activedescendant={isOpen && at >= 0 ? `${own}-${at}` : undefined}
          aria-invalid={problem !== ""}
          aria-describedby={problem ? `${own}-problem` : undefined}
          placeholder={shown.length > 0 ? "and …" : "Filter: failed, env:prod, latency>2s, a name …"}
          value={text}
          onFocus={() => setOpen(true)}
          onClick={() => setOpen(true)}
          onBlur={() => setOpen(false)}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setProblem("");
            setOpen(true);
          }}
          onKeyDown={onKeyDown}
        />
        {isOpen && options.length > 0 && (
          <ul class="options pop" id={`${own}-options`} role="listbox" aria-label="Filters">
            {options.map((option, index) => (
              <li
                key={option.text}
                id={`${own}-${index}`}
                role="option"
                aria-selected={index === at}
                onMouseDown={(event) => {
                  event.preventDefault();
                  choose(option, event.shiftKey);
                }}
              >
                <span>{option.text}</span>
                <small>{option.hint}</small>
              </li>
            ))}
            {options.some((option) => option.isWhole && option.text.includes(":")) && (
              <li role="presentation" class="hint">
                with Shift: exclude
              </li>
            )}
          </ul>
        )}
      </div>
      {problem && (
        <p id={`${own}-problem`} class="problem" role="alert">
          {problem}
        </p>
      )}
      {shown.length > 0 && (
        <Button class="link" onClick={() => url.update(withoutFilters(url.params), { push: true })}>
          Clear
        </Button>
      )}
    </div>
  );
}

/** The filters that are set: each can be dropped, and excluded instead. */
export function Chips({ chips, url }: { chips: readonly Chip[]; url: UrlState }): JSX.Element {
  return (
    <>
      {chips.map(({ label, drop, opposite }) => (
        <span class="chip" key={label}>
          <span title={label}>{label}</span>
          {opposite && (
            <Button
              class="quiet"
              icon={label.startsWith("not ") ? "plus" : "minus"}
              label={opposite.label}
              onClick={() => url.update(opposite.change, { push: true })}
            />
          )}
          <Button class="quiet" icon="close" label={`Drop the filter ${label}`} onClick={() => url.update(drop, { push: true })} />
        </span>
      ))}
    </>
  );
}

type Known = FacetValueResponse[] | ScoreSummaryItem[] | SpanAnalyticsResponse;

/** Where values are known that no facet counts: those of scores, and of spans of the last week. */
function sourceOf(field = ""): [string, Record<string, unknown>] | null {
  if (field === "score") return ["evaluations/analytics/trace-scores/summary", {}];
  if (!field.startsWith("span_")) return null;
  const after = periodStart("7d", Date.now())!; // by whole minutes: the question stays the same
  return ["analytics/spans", { group_by: field.slice(5), started_after: after, started_before: new Date(Date.parse(after) + 8 * 86_400_000).toISOString() }];
}

/** Fields first; after `field:` the values that traces have under the other filters, with their counts. */
function useOptions(text: string, isOpen: boolean, params: URLSearchParams): Option[] {
  const wanted = completionOf(text);
  const { before = "", after = "", prefix = "", ...rest } = wanted ?? {};
  const source = sourceOf(wanted?.field);
  const [path, query] = source ?? ["traces/facets", { ...rest, prefix, limit: 20 }];
  const conditions = wanted === null || source !== null ? {} : otherFilters(params, wanted, Date.now());
  const isAsked = isOpen && wanted !== null && wanted.key !== "";
  const isFiltered = Object.keys(conditions).length > 0;
  const filtered = useRead<Known>(path, { ...conditions, ...query }, { enabled: isAsked && isFiltered, keepPrevious: true });
  // Filters that leave too many traces are refused: then the values of all traces are shown.
  const isWhole = !isFiltered || filtered.isError;
  const whole = useRead<Known>(path, query, { enabled: isAsked && isWhole, keepPrevious: true });
  const facets = isWhole ? whole : filtered;
  if (wanted !== null) {
    // While the next answer is awaited, the one before may hold values that don't match any more. A
    // key with a colon can't be typed.
    const data = facets.data ?? [];
    const known = "groups" in data ? data.groups.map((one) => ({ value: one.key ?? "", count: one.figures.span_count })) : data.map((one) => ("metric_name" in one ? { value: one.metric_name, count: one.success_count } : one));
    const matching = known.filter(
      (one) => one.value.toLowerCase().startsWith(prefix.toLowerCase()) && !(after !== "" && one.value.includes(after)),
    );
    return matching.map((one) => ({
      text: `${before}${wanted.field === "score" && /[<>=]/.test(one.value) ? `"${one.value}"` : after === "" ? shownValue(one.value) : one.value}${after}`,
      hint: count(one.count),
      isWhole: after === "" && before !== "score:", // a bound may follow
    }));
  }
  const typed = text.toLowerCase().trimStart();
  if (typed.startsWith("-")) {
    const excluding = [...FIELDS.filter((one) => !one.isOnly).map((one) => ({ text: `-${one.word}:`, hint: "without this value" })), { text: "-meta.", hint: "without this value of a key" }];
    return excluding.filter((one) => one.text.startsWith(typed)).map((one) => ({ ...one, isWhole: false }));
  }
  const fields = FIELDS.map((one) => ({ text: `${one.word}:`, hint: one.hint, isWhole: false }));
  const others = OTHER_WORDS.map((one) => ({
    ...one,
    isWhole: one.text === "failed" || one.text === "ok",
  }));
  return [...others.slice(0, 1), ...fields, ...others.slice(1)].filter((one) =>
    one.text.startsWith(typed),
  );
}
