// Sends batches of spans with OpenTelemetry's official exporters, as tests/faults/support/otlp_exporters.py
// does in Python, until its standard input ends. Prints a line for each batch: its traces, and
// whether the exporter reported success.
const { trace, context } = require("@opentelemetry/api");
const http = require("@opentelemetry/exporter-trace-otlp-http");
const proto = require("@opentelemetry/exporter-trace-otlp-proto");
const { InMemorySpanExporter, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { BasicTracerProvider } = require("@opentelemetry/sdk-trace-base");

const given = JSON.parse(process.argv[2]);
let stopped = false;
process.stdin.resume();
process.stdin.on("end", () => (stopped = true));

function makeBatch(tracer, memory) {
  memory.reset();
  for (let n = 0; n < given.traces; n++) {
    const agent = tracer.startSpan("invoke_agent load", {}, context.active());
    const parent = trace.setSpan(context.active(), agent);
    for (let call = 0; call < given.calls; call++) {
      const attributes = { "gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 1 };
      tracer.startSpan("chat", { attributes }, parent).end();
    }
    agent.end();
  }
  return [...memory.getFinishedSpans()];
}

async function send(Exporter) {
  const memory = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(memory)] });
  const tracer = provider.getTracer("load");
  const exporter = new Exporter({ url: given.url, headers: given.headers });
  while (!stopped) {
    const spans = makeBatch(tracer, memory);
    const result = await new Promise((resolve) => exporter.export(spans, resolve));
    const traces = [...new Set(spans.map((span) => span.spanContext().traceId))];
    console.log(JSON.stringify({ traces, acknowledged: result.code === 0 }));
    await new Promise((resolve) => setTimeout(resolve, given.paceMs));
  }
  await exporter.shutdown();
}

const kinds = [http.OTLPTraceExporter, proto.OTLPTraceExporter];
Promise.all(Array.from({ length: given.exporters }, (_, n) => send(kinds[n % 2])));
