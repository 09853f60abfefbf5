// Builds the dashboard: node build.mjs [FOLDER]. The same sources give the same bytes everywhere.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "built"));
const assets = join(out, "assets");
const files = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath ?? one.path, one.name));
rmSync(out, { recursive: true, force: true });
mkdirSync(assets, { recursive: true });

// marked is one file, half of it for HTML, which the pages never make. Its source map has its sources:
// the lexer is built from them, with the options that `Markdown.tsx` sets, and so without the grammars
// of others.
const namespace = "node_modules/marked/src";
const optionsOfMarked = { gfm: true, breaks: true, pedantic: false, extensions: null, hooks: null, silent: false };
const withOptions = (text) =>
  text
    .replace(/this\.options\.(gfm|breaks|pedantic|extensions|hooks|silent)\b/g, (_, name) => optionsOfMarked[name])
    // What the grammars with these options replace of the one that they begin with.
    .replace(/^const (\w*Pedantic\w*|lheading|paragraph|emStrongLDelim|emStrongRDelimAst|inlineText|noopTest)\b[^]*?;\n(?! )/gm, "")
    .replace(/^ +(\w+Pedantic\b|pedantic: |normal: |\w+: noopTest,|text: inlineText,|(lheading|paragraph|emStrongLDelim|emStrongRDelimAst),).*\n/gm, "")
    .replace(/block\.normal/g, "block.gfm").replace(/inline\.normal/g, "inline.breaks")
    .replace(/^const supportsLookbehind = [^]*?\}\)\(\);$/m, "const supportsLookbehind = true;");
const lexerOfMarked = {
  name: "lexer-of-marked",
  setup({ onResolve, onLoad }) {
    const map = join(here, "node_modules/marked/lib/marked.esm.js.map");
    const { sources, sourcesContent } = JSON.parse(readFileSync(map, "utf8"));
    const texts = new Map(sources.map((name, n) => [name.replace("../src", "."), sourcesContent[n]]));
    texts.set("marked", 'export { _Lexer as Lexer } from "./Lexer.ts";');
    onResolve({ filter: /^marked$/ }, ({ path }) => ({ path, namespace }));
    onResolve({ filter: /./, namespace }, ({ path }) => ({ path, namespace }));
    onLoad({ filter: /./, namespace }, ({ path }) => ({ contents: withOptions(texts.get(path)), loader: "ts" }));
  },
};
// Modules of packages of which the pages need less. The timers of the query client, and what it takes for the
// focus, can be replaced, and its providers use a JSX runtime of their own. The router decodes addresses, which the pages do themselves: what
// is decoded twice is another name. Its patterns have optional segments, and theirs only named ones.
const LESS = [
  [
    /query-core.build.modern.timeoutManager\.js$/,
    `export const timeoutManager = {
      setTimeout: (call, ms) => setTimeout(call, ms), clearTimeout: (id) => clearTimeout(id),
      setInterval: (call, ms) => setInterval(call, ms), clearInterval: (id) => clearInterval(id),
    };
    export const systemSetTimeoutZero = (call) => setTimeout(call, 0);
    export const defaultTimeoutProvider = timeoutManager;`,
  ],
  [
    /query-core.build.modern.focusManager\.js$/,
    `export const focusManager = {
      isFocused: () => document.visibilityState !== "hidden",
      subscribe(listener) { addEventListener("visibilitychange", () => listener(focusManager.isFocused())); },
    };`,
  ],
  // The pages ask whatever the browser says of the network: `networkMode` is "always".
  [/query-core.build.modern.onlineManager\.js$/, "export const onlineManager = { isOnline: () => true, subscribe() {} };"],
  [
    /wouter-preact.src.paths\.js$/,
    `export const absolutePath = (to, base) => (to[0] === "~" ? to.slice(1) : base + to);
    export const relativePath = (base, path) => ((path + "/").startsWith(base + "/") ? path.slice(base.length) || "/" : "~" + path);
    export const sanitizeSearch = (search) => search.replace(/^[?]/, "");`,
  ],
  [
    /regexparam.dist.index\.mjs$/,
    `export const parse = (path) => ({
      keys: Array.from(path.matchAll(/:(\\w+)/g), ([, name]) => name),
      pattern: new RegExp("^" + path.replace(/\\/$/, "").replace(/:\\w+/g, "([^/]+)").replace("*", ".*") + "/?$", "i"),
    });`,
  ],
  [/preact.jsx-runtime.dist.jsxRuntime\.module\.js$/, 'export { createElement as jsx } from "preact";'],
];
// What no bundler leaves out of packages: methods that nothing calls, options that nothing sets, results that
// nothing reads, events that nothing listens to, mutations. The build fails if a method is called after all, a
// source names such an option or result, or a package hasn't a text any more.
const UNUSED_METHODS = [
  "isFetching", "isMutating", "getQueryData", "ensureQueryData", "getQueriesData", "setQueriesData", "getQueryState", "removeQueries",
  "resetQueries", "cancelQueries", "infiniteQuery", "ensureInfiniteQueryData", "resumePausedMutations", "getMutationCache", "getDefaultOptions",
  "setDefaultOptions", "setQueryDefaults", "getQueryDefaults", "setMutationDefaults", "getMutationDefaults", "defaultMutationOptions",
  "query", "fetchOptimistic", "getCurrentQuery", "shouldFetchOnReconnect", "shouldFetchOnWindowFocus", "onOnline", "fetchPreviousPage",
];
const UNSET_OPTIONS = [
  "persister", "suspense", "getPreviousPageParam", "queryKeyHashFn", "notifyOnChangeProps", "throwOnError", "initialDataUpdatedAt",
  "refetchIntervalInBackground", "retryOnMount", "initialPromise", // of queries
  "oneChangePerToken", "comparator", "ignoreCase", "ignoreWhitespace", "ignoreNewlineAtEof", "newlineIsToken", "stripTrailingCr", // of differences
];
const UNREAD_RESULTS = [
  "isInitialLoading", "failureCount", "failureReason", "errorUpdateCount", "isFetchedAfterMount", "isLoadingError", "isPaused", "isEnabled",
  "hasPreviousPage", "isFetchNextPageError", "isFetchPreviousPageError", "isFetchingPreviousPage", "isRefetchError", "isRefetching",
];
const optionOf = (names) => `(?<![\\w.#])(?:\\w+\\.)?(?:\\w*[oO]ptions|config)\\??\\.(?:${names})\\b(?! = )`;
const UNUSED = [
  ...UNUSED_METHODS.map((name) => [new RegExp(`^\\t(async )?${name}\\(.*\\) \\{\\n[^]*?^\\t\\}\\n`, "gm"), ""]),
  ...UNSET_OPTIONS.map((name) => [new RegExp(optionOf(name), "g"), "undefined"]),
  ...UNREAD_RESULTS.map((name) => [new RegExp(`^\\t{3}${name}(?:: .*|,)$`, "gm"), ""]),
  [new RegExp(optionOf("select"), "g"), "undefined"],
  [new RegExp(optionOf("networkMode"), "g"), '"always"'],
  [/\bconst \{ (maxPages|notifyOnChangeProps) \} = [\w.]+;/g, "const $1 = undefined;"],
  [/(?:this\.#cache|this\.#client\.getQueryCache\(\)|\bthis)\.notify\(\{[^}]*\}\);/g, ";"],
  [/^\s*(?:await this\.resumePausedMutations\(\)|this\.#mutation\w+.*);$/gm, ""],
  [/^\t*this\.#unsubscribeOnline = online[^]*?\n\t\t\}\);$/gm, ""],
  [/\b(?:this|client)\.getQueryDefaults\([\w.]*\)/g, "undefined"],
  [/^.*this\.fetchPreviousPage.*$/gm, ""],
  [/^\t(find|clear)\((filters)?\) \{\n[^]*?^\t\}\n/gm, ""], // of caches
  [/^\t\tconst is(?:FetchPreviousPageError|FetchingPreviousPage|FetchNextPageError) = .*$/gm, ""],
  [/^\tif \(queryKey\) \{[^]*?^\t\}\n|^\tif \((typeof stale|fetchStatus) .*\n/gm, ""], // filters that nothing uses
  [/^\t*if \(this\.options\.enabled !== void 0 &&.*\n/gm, ""], // the types say it
  [/(?:this\.)?\w*ptions\.queryFn( === skipToken)/g, "false"],
  [/^\t\tthis\.observers\.find\(\(x\) => x\.shouldFetchOn.*\n/gm, ""], // `refetchOnWindowFocus` is off
  [/\buseIsRestoring\(\)/g, "false"],
  [/^\t(?:ensureSuspenseTimers|ensurePreventErrorBoundaryRetry|useClearResetErrorBoundary|if \(shouldSuspend|const errorResetBoundary)\b.*\n/gm, ""],
  [/^\tif \(getHasError\(\{[^]*?^\t\}\)\) throw .*\n/gm, ""], // hooks neither suspend nor throw: the pages show each state
  [/\bisServer\(\)/g, "false"],
  [/^\t\tset(?:Notify|BatchNotify|Scheduler)\w*: \(fn\) => \{\n.*\n\t\t\},?\n/gm, ""],
  [/^  if \((?:props\.ssrPath|ssrContext)\) \{[^]*?^  \}\n/gm, ""], // there is no page of a server that comes first
  [/^  ssr\w+: undefined,\n|^  const \{ ssrContext \} = router;\n/gm, ""],
  [/ssr(?:Path|Search) != null \? \(\) => \w+ : /g, ""],
  [/'callback' in options|typeof options === 'function'/g, "false"],
  [/if \(callback\)/g, "if (false)"],
  [/this\.useLongestToken/g, "false"],
  [/^const tokenizeIncludingWhitespace = .*$/gm, ""],
  [/= (?=new WordDiff\(\)|forwardRef\()/g, "= /* @__PURE__ */ "], // differences of words alone, and a link
];
const withoutUnused = {
  name: "without-unused",
  setup({ onLoad, onEnd }) {
    const found = new Set();
    onLoad({ filter: /(query-core|preact-query).build.modern.\w+\.js$|diff.libesm.diff.\w+\.js$|wouter-preact.src.(index|use-browser-location)\.js$/ }, ({ path }) => {
      const contents = UNUSED.reduce((text, [pattern, rest]) => {
        if (text.search(pattern) >= 0) found.add(pattern);
        return text.replace(pattern, rest);
      }, readFileSync(path, "utf8"));
      return { contents, loader: "js", resolveDir: dirname(path) };
    });
    onEnd(() => {
      for (const [pattern] of UNUSED) if (!found.has(pattern)) throw new Error(`no package has ${pattern}: see UNUSED`);
      const called = new RegExp(`\\.(${UNUSED_METHODS.join("|")})(\\(|\\.bind).{30}`);
      for (const name of readdirSync(assets).filter((one) => one.endsWith(".js"))) {
        const [found] = called.exec(readFileSync(join(assets, name), "utf8")) ?? [];
        if (found) throw new Error(`${name} calls ${found}: see UNUSED_METHODS`);
      }
      const named = new RegExp(`\\b(${UNSET_OPTIONS.join("|")}):|\\bselect: \\(?\\w+\\)? =>|\\.(${UNREAD_RESULTS.join("|")})\\b`);
      for (const path of files(join(here, "src"))) {
        const [found] = named.exec(readFileSync(path, "utf8")) ?? [];
        if (found) throw new Error(`${path} has ${found}: see UNSET_OPTIONS and UNREAD_RESULTS`);
      }
    });
  },
};
const lessOfPackages = {
  name: "less-of-packages",
  setup({ onLoad }) {
    for (const [filter, contents] of LESS) {
      onLoad({ filter }, ({ path }) => ({ contents, loader: "js", resolveDir: dirname(path) }));
    }
  },
};
const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  metafile: true,
  outdir: assets,
  target: ["es2023", "chrome123", "firefox120", "safari17.5"],
  legalComments: "none", // LICENSES.txt has them
  // Chromium then compiles the functions of a file while it comes, in parallel with the page's main thread.
  banner: { js: "//# allFunctionsCalledOnLoad" },
  logLevel: "warning",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  define: { "process.env.NODE_ENV": '"production"' },
};
const pages = await build({
  ...common,
  entryPoints: ["src/main.tsx", "src/app.css"],
  format: "esm",
  splitting: true,
  plugins: [lexerOfMarked, lessOfPackages, withoutUnused],
  // Calls of createElement() are shorter than those of the runtime that the types are checked with.
  inject: ["src/jsx.ts"],
  tsconfigRaw: { compilerOptions: { jsx: "react", jsxFactory: "createElement", jsxFragmentFactory: "Fragment", verbatimModuleSyntax: true } },
});
// Runs before the style is applied, so that the page doesn't flash in the other theme.
const theme = await build({ ...common, banner: {}, entryPoints: ["src/theme.ts"], format: "iife" });

const outputs = { ...pages.metafile.outputs, ...theme.metafile.outputs };
const built = (entry) => {
  const found = Object.keys(outputs).find((name) => outputs[name].entryPoint === entry);
  return found.split("/").at(-1);
};
const first = { main: "src/main.tsx", style: "src/app.css", theme: "src/theme.ts" };
// The entry only imports the file of the first view, so the page names that file instead.
const entry = Object.keys(outputs).find((name) => outputs[name].entryPoint === first.main);
const scripts = outputs[entry].imports.filter((one) => one.kind === "import-statement");
if (scripts.length !== 1) throw new Error("every view has to import app.tsx: see main.tsx");
rmSync(join(here, entry));
delete outputs[entry];
const loaded = {
  main: scripts[0].path.split("/").at(-1),
  style: built(first.style),
  theme: built(first.theme),
};
writeFileSync(
  join(out, "index.html"),
  readFileSync(join(here, "src/index.html"), "utf8")
    .replace(/\{\{(main|style|theme)\}\}/g, (_, name) => loaded[name]),
);

const packages = new Set();
for (const { inputs } of Object.values(outputs)) {
  for (const input of Object.keys(inputs)) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (name) packages.add(name);
  }
}
const licences = [...packages].sort().map((name) => {
  const folder = join(here, "node_modules", name);
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
  const licence = file ? readFileSync(join(folder, file), "utf8").trim() : "Unlicense";
  return `${name} ${version}\n\n${licence}\n`;
});
writeFileSync(join(out, "LICENSES.txt"), licences.join(`\n${"-".repeat(72)}\n\n`));

const path = (base, file) => relative(base, file).split(sep).join("/");
const digest = (algorithm, content, coding) => createHash(algorithm).update(content).digest(coding);

// Declarations of types change no byte of what is built.
const sources = [
  ...files(join(here, "src")).filter((file) => !file.endsWith(".d.ts")),
  ...["build.mjs", "package.json", "package-lock.json", "tsconfig.json"].map((n) => join(here, n)),
];
const inputs = sources
  .map((file) => `${path(here, file)} ${digest("sha256", readFileSync(file), "hex")}\n`)
  .sort()
  .join("");
const manifest = {
  inputs: digest("sha256", inputs, "hex"),
  first: Object.values(loaded).map((name) => `assets/${name}`),
  files: Object.fromEntries(
    files(out)
      .sort()
      .map((file) => {
        const content = readFileSync(file);
        const hash = `sha384-${digest("sha384", content, "base64")}`;
        return [path(out, file), { bytes: content.length, hash }];
      }),
  ),
};
writeFileSync(join(out, "manifest.json"), `${JSON.stringify(manifest, null, 1)}\n`);
