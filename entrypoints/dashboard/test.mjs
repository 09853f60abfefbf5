// Runs the unit tests: node test.mjs. Node before 22 can't read TypeScript, so esbuild bundles them.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const tests = readdirSync(join(here, "tests")).filter((name) => name.endsWith(".test.ts"));
const out = mkdtempSync(join(tmpdir(), "dashboard-tests-"));
// One file, since a process for each would take half of the time.
const file = join(out, "tests.mjs");
await build({
  absWorkingDir: here,
  stdin: { contents: tests.map((name) => `import "./tests/${name}";`).join("\n"), resolveDir: here },
  outfile: file,
  bundle: true,
  format: "esm",
  platform: "node",
  logLevel: "warning",
});
const { status } = spawnSync(process.execPath, ["--test", file], { stdio: "inherit" });
rmSync(out, { recursive: true, force: true });
process.exit(status ?? 1);
