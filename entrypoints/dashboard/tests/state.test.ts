import assert from "node:assert/strict";
import { test } from "node:test";
import { chips, completionOf, failedOf, filterBody, filterQuery, otherFilters, parse, parseFind, periodStart, scoreAbove, scoreBelow, searchFor, searchNote, shownValue, withoutFilters } from "../src/lib/filters.ts";
import { joinOutline } from "../src/lib/outline.ts";
import { ticks } from "../src/lib/chart/scale.ts";
import { changed } from "../src/url/state.ts";

function after(search: string, typed: string): string {
  const parsed = parse(typed, new URLSearchParams(search));
  return "change" in parsed ? decodeURIComponent(changed(search, parsed.change)) : `problem: ${parsed.problem}`;
}

test("typed filters are completed by what the service counts", () => {
  const around = { before: "env:", after: "" };
  assert.deepEqual(completionOf("env: pr"), { field: "environment", prefix: "pr", ...around });
  assert.equal(completionOf(" STATUS:err")?.prefix, "ERR");
  assert.equal(completionOf("-env:pr")?.before, "-env:");
  assert.equal(completionOf("meta.k!=v")?.before, "-meta.k:");
  for (const typed of ["name:pl", "name= pl", "NAME =pl"]) assert.deepEqual(completionOf(typed), { field: "name", prefix: "pl", before: "name=", after: "" });
  assert.equal(completionOf("-name:pl")?.before, "-name:");
  assert.deepEqual(completionOf("meta.ten"), { field: "metadata_key", prefix: "ten", before: "meta.", after: ":" });
  assert.deepEqual(completionOf("meta.a b:n:1"), {
    field: "metadata_value",
    key: "a b",
    prefix: "n:1",
    before: "meta.a b:",
    after: "",
  });
  for (const typed of ["", "env", "latency>", "other:x"]) assert.equal(completionOf(typed), null);
});

test("values are counted under the filters of other fields and the period", () => {
  const under = (search: string, typed: string): Record<string, unknown> => otherFilters(new URLSearchParams(search), completionOf(typed)!, Date.UTC(2026, 2, 8));
  const search = "environment=prod&tags=a&metadata.plan=pro&query=words&not_user_id=u&period=7d&sort_by=cost";
  const rest = { environment: ["prod"], tags: ["a"], "metadata.plan": ["pro"], not_user_id: ["u"], started_after: "2026-03-01T00:00:00.000Z" };
  assert.deepEqual(under(search, "model:"), rest);
  assert.deepEqual(under(`${search}&name=a&names=b`, "name:"), rest);
  const { environment: _one, ...without } = rest;
  assert.deepEqual(under(search, "env:te"), without);
  const { "metadata.plan": _other, ...others } = rest;
  assert.deepEqual(under(search, "meta.plan:"), others);
  assert.deepEqual(under("sort_by=cost", "env:"), {});
});

test("values that can't be seen are shown in quotes, and read back from what is shown", () => {
  for (const value of ["", " ", " a", "a ", '"a"', '"']) {
    const shown = value === '"' ? value : `"${value}"`;
    assert.equal(shownValue(value), shown);
    for (const [field, name] of [["env", "environment"], ["user", "user_id"], ["session", "session_id"], ["release", "release"], ["tag", "tags"], ["meta.k", "metadata.k"]]) {
      const search = changed("", { [name!]: value });
      assert.equal(after("", `${field}:${shown}`), decodeURIComponent(search));
      assert.deepEqual(chips(new URLSearchParams(search), String).map((one) => one.label), [`${field}: ${shown}`]);
    }
  }
  for (const value of ["a", "a b", 'a "b"']) assert.equal(shownValue(value), value);
});

test("a search says what it may have left out", () => {
  const page = (isComplete: boolean, next: string | null) => ({ next_cursor: next, search: { indexed_until: "2026-03-01T09:00:00Z", is_complete: isComplete } });
  const noteOf = (...pages: Parameters<typeof searchNote>[0]) => searchNote(pages, String);
  assert.equal(noteOf(), null);
  assert.equal(noteOf({ next_cursor: "a" }), null); // not a search
  assert.equal(noteOf(page(true, "a"), page(true, null)), null);
  const stopped = noteOf(page(true, "a"), page(false, "b"));
  assert.match(stopped!.text, /isn’t complete: it stopped at a limit/);
  assert.equal(stopped!.goesOn, true);
  for (const pages of [[page(false, null)], [page(false, "a"), page(true, null)]]) {
    const missed = noteOf(...pages);
    assert.match(missed!.text, /may have missed traces.* written after 2026-03-01T09:00:00Z /);
    assert.equal(missed!.goesOn, false);
  }
});

test("failed traces have the status ERROR, whatever their spans have", () => {
  assert.equal(failedOf("release=1.4&tags=a&tags=b"), "release=1.4&tags=a&tags=b&status=ERROR");
  assert.equal(failedOf("status=ERROR"), "status=ERROR");
});

test("typed filters become parameters of the API", () => {
  assert.equal(after("", "spans > 100"), "?min_span_count=100");
  assert.equal(after("", "Cost>=$0.5"), "?min_cost=0.5");
  assert.equal(after("", "failed"), "?has_error=true");
  assert.equal(after("", "status:error"), "?status=ERROR");
  assert.equal(after("", "tokens>5000"), "?min_tokens=5000");
  assert.equal(after("", "latency>2s"), "?min_latency_ms=2000");
  assert.equal(after("", "latency < 1.5min"), "?max_latency_ms=90000");
  assert.equal(after("?tags=a", "tag:b"), "?tags=a&tags=b");
  assert.equal(after("?tags=a", "tag:a"), "?tags=a");
  assert.equal(after("", "meta.customer:a:b"), "?metadata.customer=a:b");
  assert.equal(after("", 'env:"two words"'), "?environment=two+words");
  assert.equal(after("", "answer"), "?name=answer");
  assert.equal(after("?name=answer", '""'), "");
  assert.equal(after("?name=answer&names=other", "Name = plan a"), "?names=plan+a");
  assert.equal(after("", 'name=" plan"'), "?names=+plan");
  assert.match(after("", "-name=plan"), /^problem/);
  assert.equal(after("", 'text:"two words"'), '?query="two+words"');
  assert.equal(after("?environment=prod", "-env:prod"), "?not_environment=prod");
  assert.equal(after("?not_environment=prod&not_environment=dev", "env:prod"), "?environment=prod&not_environment=dev");
  assert.equal(after("", "tag != b"), "?not_tags=b");
  assert.equal(after("?not_tags=a", "tag!=b"), "?not_tags=a&not_tags=b");
  assert.equal(after("", "-status:error"), "?not_status=ERROR");
  assert.equal(after("", "meta.customer!=a:b"), "?not_metadata.customer=a:b");
  assert.equal(after("", "meta.customer != acme"), "?not_metadata.customer=acme");
  assert.equal(after("", "meta.customer: acme"), "?metadata.customer=acme");
  assert.equal(after("", "-answer"), "?not_name=answer");
  for (const typed of ["-failed", "-latency>2s"]) assert.match(after("", typed), /^problem/);
  assert.match(after("", "latency>soon"), /^problem/);
  for (const typed of ["env:", "meta.customer: ", "-meta.customer:"]) assert.match(after("", typed), /^problem: Write a value/);
  assert.match(after("", "status:e"), /^problem: .*PENDING, RUNNING, COMPLETED, ERROR/);
  assert.match(after("", "-kind:x"), /^problem/);
  assert.equal(after("", "kind:tool"), "?span_kind=TOOL");
});

test("every filter is a chip that drops it alone", () => {
  const search =
    "?status=ERROR&names=plan&names=+b&tags=a&tags=b&not_tags=c&min_latency_ms=2000&metadata.k=v&not_metadata.k=w&not_metadata.k=x&has_error=true&period=7d&peek=1";
  const found = chips(new URLSearchParams(search), (ms) => `${ms} ms`);
  assert.deepEqual(found.map((chip) => chip.label).sort(), ["failed", "latency ≥ 2000 ms", "meta.k: v", 'name = " b"', "name = plan", "not meta.k: w", "not meta.k: x", "not tag: c", "status: ERROR", "tag: a", "tag: b"]);
  for (const chip of found) {
    const left = chips(new URLSearchParams(changed(search, chip.drop)), (ms) => `${ms} ms`);
    assert.deepEqual(left.map((one) => one.label), found.filter((one) => one !== chip).map((one) => one.label));
  }
  const flipped = changed(search, found.find((chip) => chip.label === "tag: a")!.opposite!.change);
  assert.deepEqual(filterQuery(new URLSearchParams(flipped)).not_tags, ["c", "a"]);
  const none = changed(search, withoutFilters(new URLSearchParams(search)));
  assert.deepEqual(filterQuery(new URLSearchParams(none)), {});
  assert.equal(none, "?peek=1");
  assert.deepEqual(chips(new URLSearchParams("max_latency_ms=5&has_error=false"), (ms) => `${ms} ms`).map((chip) => chip.label), ["ok", "latency ≤ 5 ms"]);
});

test("a period begins with a whole minute", () => {
  const now = Date.parse("2026-03-31T09:00:59Z");
  assert.deepEqual(["1h", "24h", "7d", "30d", null].map((one) => periodStart(one, now)?.slice(0, 19)), ["2026-03-31T08:00:00", "2026-03-30T09:00:00", "2026-03-24T09:00:00", "2026-03-01T09:00:00", undefined]);
});

test("scores and spans are filters with one value", () => {
  const none = new URLSearchParams();
  const change = (text: string, params = none) => {
    const found = parse(text, params);
    return "change" in found ? found.change : found.problem;
  };
  const score = { score: "a b", score_min: null, score_max: null, score_outcome: null };
  assert.deepEqual(change("score:a b"), score);
  assert.deepEqual(change('score:"a b" <= .50'), { ...score, score_max: "0.5" });
  assert.deepEqual(change("score:a b>=0.5"), { ...score, score_min: "0.5" });
  assert.deepEqual(change("score:a b>0.5"), { ...score, score_min: scoreAbove(0.5) });
  assert.deepEqual(change("score:a b<0.5"), { ...score, score_max: scoreBelow(0.5) });
  for (const typed of ["score:a<0", "score:a > 1"]) assert.match(String(change(typed)), /No score is/);
  for (const outcome of ["scored", "failed", "skipped"]) assert.deepEqual(change(`score:a b=${outcome}`), { ...score, score_outcome: outcome });
  const bounded = new URLSearchParams("?score=a+b&score_min=0.1&score_outcome=scored");
  assert.deepEqual(change("score:a b<=1", bounded), { score: "a b", score_max: "1", score_outcome: null });
  assert.deepEqual(change("score:other<=1", bounded), { ...score, score: "other", score_max: "1" });
  assert.match(String(change("score:a<2")), /from 0 to 1/);
  assert.deepEqual(change('score:"a<2"'), { ...score, score: "a<2" });
  assert.deepEqual(change("-kind:tool"), { not_span_kind: ["TOOL"], span_kind: null });
  assert.deepEqual(change("-score:a b"), { not_score: ["a b"], score: null });
  assert.deepEqual(change("-score:a b", bounded), { ...score, not_score: ["a b"], score: null });
  assert.deepEqual(change("score:a b<=1", new URLSearchParams("?not_score=a+b")), { ...score, score_max: "1", not_score: null });
  for (const typed of ["-score:a<0.5", "-score:a=failed"]) assert.match(String(change(typed)), /as a whole/);
  assert.deepEqual(change("kind:tool"), { span_kind: "TOOL", not_span_kind: null });
  assert.deepEqual(change("span:look up: x"), { span_name: "look up: x", not_span_name: null });
  const shown = chips(new URLSearchParams("?score=m&score_max=0.5&span_kind=TOOL&span_name=f"), String);
  assert.deepEqual(shown.map((one) => one.label), ["span: f", "kind: TOOL", "score: m", "score ≤ 0.5"]);
  assert.deepEqual(shown[2]?.opposite?.change, { ...score, not_score: ["m"], score: null });
  for (const bound of [0.05, 0.15, 0.5, 0.95, 1]) {
    const most = Number(scoreBelow(bound));
    assert.ok(most < bound && [most, bound].includes((most + bound) / 2)); // there is no number between them
    assert.deepEqual(chips(new URLSearchParams({ score_max: scoreBelow(bound) }), String).map((one) => one.label), [`score < ${bound}`]);
  }
  for (const bound of [0, 0.05, 0.15, 0.5, 0.7, 0.95]) {
    const least = Number(scoreAbove(bound));
    assert.ok(least > bound && [least, bound].includes((least + bound) / 2));
    assert.deepEqual(chips(new URLSearchParams({ score_min: scoreAbove(bound) }), String).map((one) => one.label), [`score > ${bound}`]);
  }
  const without = chips(new URLSearchParams("?not_score=m&not_span_name=f"), String);
  assert.deepEqual(without.map((one) => one.label), ["not span: f", "not score: m"]);
  assert.deepEqual(without[1]?.opposite?.change, { ...score, score: "m", not_score: null });
  assert.deepEqual(filterBody(bounded, 0), { score: "a b", score_min: 0.1, score_outcome: "scored" });
});

test("an export has the filters of the list", () => {
  const params = new URLSearchParams("?tags=a&names=plan&not_tags=b&not_status=ERROR&metadata.k=v&not_metadata.k=w&min_latency_ms=5&sort_by=name&query=refund");
  assert.deepEqual(filterBody(params, 0), {
    tags: ["a"],
    names: ["plan"],
    not_tags: ["b"],
    not_status: ["ERROR"],
    min_latency_ms: 5,
    metadata: { k: ["v"] },
    not_metadata: { k: ["w"] },
  });
});

test("ticks are round and within the range", () => {
  for (const [from, to] of [[0, 3_110_000], [-20, 7], [5, 5.001], [0, 1e12]] as const) {
    const found = ticks(from, to, 6);
    assert.ok(found.length >= 1 && found.length <= 8, `${from} to ${to}: ${found.length}`);
    assert.ok(found.every((at) => at >= from && at <= to));
  }
});

test("ticks of durations are round times", () => {
  const [MINUTE, HOUR, DAY] = [60, 3600, 86_400];
  assert.deepEqual(ticks(0, 10 * MINUTE, 4, 1), [0, 300, 600]);
  assert.deepEqual(ticks(0, 100, 3, 1), [0, MINUTE]);
  assert.deepEqual(ticks(0, 3 * DAY, 3, 1), [0, DAY, 2 * DAY, 3 * DAY]);
  assert.deepEqual(ticks(0, 20 * HOUR, 4, 1), [0, 6 * HOUR, 12 * HOUR, 18 * HOUR]);
  assert.deepEqual(ticks(0, 40 * DAY, 4, 1), [0, 10 * DAY, 20 * DAY, 30 * DAY, 40 * DAY]);
  assert.deepEqual(ticks(0, 2.4, 3, 1), [0, 1, 2]);
  for (let most = 1; most < 8; most++) {
    for (let to = 0.001; to < 1e7; to *= 1.7) {
      const found = ticks(0, to, most, 1);
      assert.ok(found.length >= 1 && found.length <= most + 1, `${to} by ${most}: ${found.length}`);
    }
  }
});

test("parts of an outline are joined, with the words of each", () => {
  const part = (first: number, names: string[], parent: number[]) => ({
    trace: {} as never,
    revision: `r${first}`,
    total_spans: 3,
    first,
    names,
    kinds: ["LLM" as const],
    statuses: ["OK" as const],
    models: [`model of ${first}`],
    next: null,
    columns: {
      span_id: parent.map((_, index) => `s${first + index}`),
      parent,
      parent_id: {},
      name: parent.map((_, index) => index % names.length),
      kind: parent.map(() => 0),
      status: parent.map(() => 0),
      model: parent.map((_, index) => (index === 0 ? 0 : null)),
      start_us: parent.map(() => 0),
      latency_us: parent.map(() => null),
      first_token_us: parent.map(() => null),
      tokens: parent.map(() => 0),
      cost: parent.map(() => null),
      input_bytes: parent.map(() => null),
      output_bytes: parent.map(() => null),
      has_error: parent.map(() => false),
      uncounted: [],
    },
  });
  const joined = joinOutline([part(0, ["a", "b"], [-1, 0]), part(2, ["b"], [1])]);
  assert.deepEqual(joined.names, ["a", "b"]);
  assert.deepEqual(joined.name, [0, 1, 1]);
  assert.deepEqual(joined.parent, [-1, 0, 1]);
  assert.deepEqual(joined.model.map((at) => at !== null && joined.models[at]), ["model of 0", false, "model of 2"]);
  assert.equal(joined.revision, "r2");
  assert.deepEqual(joinOutline([part(0, ["a"], [2])]).parent, [-2]);
});

test("a least duration is a part of what is looked for", () => {
  assert.deepEqual(parseFind(" Search >500ms"), { words: "search", minUs: 500_000 });
  assert.deepEqual(parseFind(">2s"), { words: "", minUs: 2_000_000 });
  assert.deepEqual([">2s >1s", ">1MIN", ">=1h"].map((text) => parseFind(text).minUs), [2e6, 60e6, 3600e6]);
  assert.deepEqual(parseFind("a>b >x"), { words: "a>b >x", minUs: 0 });
});

test("words that are being typed are searched by their beginnings", () => {
  const cases: [string, string][] = [
    ["", ""], ["a", ""], ["--", ""], ["ab", "ab"], ["refund", "refund*"], ["refund la", "refund la"],
    ["refund late", "refund late*"], ['"tracking num', '"tracking num"'], ['"tracking number"', '"tracking number"'],
    ["deliver*", "deliver*"], ["東京", "東京"], ["a-b", ""],
  ];
  for (const [typed, query] of cases) assert.equal(searchFor(typed), query);
});
