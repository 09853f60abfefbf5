/** A whole trace with its scores on one line, as an export has it, with every digit as sent. */
import { requestText } from "./client.ts";

export async function readTraceLine(id: string): Promise<string> {
  const [trace, scores] = [await requestText(`traces/${id}`, {}), await requestText(`evaluations/trace-scores/${id}`, {})];
  return `${trace.trimEnd().slice(0, -1)},"scores":${scores}}`.replace(/[\r\n]/g, " ");
}
