/** How a program sends a trace, with the address and the project filled in. */
interface Snippet {
  title: string;
  text: string;
}

/** As one word of a POSIX shell. */
export function quoted(text: string): string {
  return /^[\w.:/-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`;
}

/** `key` takes the place of the variable, if there is one. */
export function snippets(endpoint: string, project: string, key: string | null = null): Snippet[] {
  const secret = key ?? "$PANDAPROBE_API_KEY";
  const encoded = encodeURIComponent(project); // variables of OpenTelemetry are decoded; headers of requests aren't
  const environment = `export PANDAPROBE_ENDPOINT=${quoted(endpoint)}
export PANDAPROBE_PROJECT_NAME=${quoted(project)}
export PANDAPROBE_API_KEY=${key ?? "…"}`;
  return [
    {
      title: "curl",
      text: `curl ${quoted(`${endpoint}/traces`)} \\
  -H "X-API-Key: ${secret}" -H ${quoted(`X-Project-Name: ${project}`)} \\
  -H 'Content-Type: application/json' \\
  -d '{"name": "first-trace", "started_at": "'"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'", "input": "hello"}'`,
    },
    {
      title: "Python",
      text: `# pip install pandaprobe; the variables are under “Environment”
import pandaprobe

pandaprobe.init()


@pandaprobe.trace(name="first-trace")
def agent(messages: list[dict[str, str]]) -> dict[str, object]:
    return {"messages": [*messages, {"role": "assistant", "content": "Hello!"}]}


agent([{"role": "user", "content": "Hi"}])
pandaprobe.flush()`,
    },
    {
      title: "TypeScript",
      text: `// npm install pandaprobe; the variables are under “Environment”
import { flush, withTrace } from "pandaprobe";

const input = { messages: [{ role: "user", content: "Hi" }] };
await withTrace("first-trace", { input }, async (trace) => {
  trace.setOutput({ messages: [{ role: "assistant", content: "Hello!" }] });
});
await flush();`,
    },
    {
      title: "OpenTelemetry",
      text: `export OTEL_EXPORTER_OTLP_ENDPOINT=${quoted(endpoint)}
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_HEADERS="x-api-key=${secret},x-project-name=${encoded}"`,
    },
    { title: "Environment", text: environment },
  ];
}
