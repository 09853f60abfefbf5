/** Cadences of monitors: what a person chooses, the text that the service stores, and words. */

export type Cadence =
  | { kind: "every_6h" | "daily" | "weekly" }
  | { kind: "hours"; every: number; minute: number }
  | { kind: "day" | "workdays"; hour: number; minute: number }
  | { kind: "week"; weekday: number; hour: number; minute: number }
  | { kind: "month"; day: number; hour: number; minute: number }
  | { kind: "cron"; fields: string };

const HOUR_MS = 3_600_000;
export const EVERY_HOURS: readonly number[] = [1, 2, 3, 4, 6, 8, 12];
export const WEEKDAYS: readonly string[] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const INTERVALS: Record<string, { ms: number; words: string }> = {
  every_6h: { ms: 6 * HOUR_MS, words: "every 6 hours" },
  daily: { ms: 24 * HOUR_MS, words: "every 24 hours" },
  weekly: { ms: 7 * 24 * HOUR_MS, words: "every 7 days" },
};

/** The text that the service takes. */
export function writeCadence(of: Cadence): string {
  switch (of.kind) {
    case "hours":
      return `cron:${of.minute} ${of.every === 1 ? "*" : `*/${of.every}`} * * *`;
    case "day":
      return `cron:${of.minute} ${of.hour} * * *`;
    case "workdays":
      return `cron:${of.minute} ${of.hour} * * 1-5`;
    case "week":
      return `cron:${of.minute} ${of.hour} * * ${of.weekday}`;
    case "month":
      return `cron:${of.minute} ${of.hour} ${of.day} * *`;
    case "cron":
      return `cron:${of.fields.trim()}`;
    default:
      return of.kind;
  }
}

/** What a stored text means, as far as the picker can say it; else its five fields. */
export function readCadence(text: string): Cadence {
  if (text in INTERVALS) return { kind: text as "every_6h" | "daily" | "weekly" };
  const fields = text.replace(/^cron:/, "").trim();
  const [minute = "", hour = "", day = "", month = "", weekday = "", ...more] = fields.split(/\s+/);
  const other: Cadence = { kind: "cron", fields };
  const at = number(minute, 0, 59);
  if (at === null || month !== "*" || more.length > 0) return other;
  const hours = hour === "*" ? 1 : /^\*\/\d+$/.test(hour) ? Number(hour.slice(2)) : null;
  if (hours !== null) return EVERY_HOURS.includes(hours) && (hours > 1 || hour === "*") && day === "*" && weekday === "*" ? { kind: "hours", every: hours, minute: at } : other;
  const clock = number(hour, 0, 23);
  if (clock === null) return other;
  if (day === "*" && weekday === "*") return { kind: "day", hour: clock, minute: at };
  if (day === "*" && /^(1-5|mon-fri)$/i.test(weekday)) return { kind: "workdays", hour: clock, minute: at };
  const named = WEEKDAYS.findIndex((one) => one.slice(0, 3).toLowerCase() === weekday.toLowerCase());
  const dayOfWeek = named >= 0 ? named : number(weekday, 0, 7);
  if (day === "*" && dayOfWeek !== null) return { kind: "week", weekday: dayOfWeek % 7, hour: clock, minute: at };
  const dayOfMonth = number(day, 1, 31);
  return weekday === "*" && dayOfMonth !== null ? { kind: "month", day: dayOfMonth, hour: clock, minute: at } : other;
}

function number(text: string, least: number, most: number): number | null {
  const value = /^\d{1,2}$/.test(text) ? Number(text) : NaN;
  return value >= least && value <= most ? value : null;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** A stored cadence in words. */
export function cadenceWords(text: string): string {
  const of = readCadence(text);
  switch (of.kind) {
    case "hours":
      return of.every === 1 ? `every hour at :${two(of.minute)}` : `every ${of.every} hours at :${two(of.minute)}, UTC`;
    case "day":
      return `every day at ${two(of.hour)}:${two(of.minute)} UTC`;
    case "workdays":
      return `Monday to Friday at ${two(of.hour)}:${two(of.minute)} UTC`;
    case "week":
      return `every ${WEEKDAYS[of.weekday]} at ${two(of.hour)}:${two(of.minute)} UTC`;
    case "month":
      return `on day ${of.day} of each month${of.day > 28 ? " that has one" : ""} at ${two(of.hour)}:${two(of.minute)} UTC`;
    case "cron":
      return `at the minutes of cron ${of.fields}, UTC`;
    default:
      return INTERVALS[of.kind]!.words;
  }
}

/** The next instants of a cadence that counts from slot to slot; null if only the service knows them. */
export function slotsAfter(cadence: string, next: string, count: number): string[] | null {
  const interval = INTERVALS[cadence];
  if (interval === undefined) return null;
  return Array.from({ length: count }, (_, n) => new Date(Date.parse(next) + n * interval.ms).toISOString());
}

const PARTS: Intl.DateTimeFormatOptions = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

/** An instant in UTC and in the zone of the browser, once if both are the same. */
export function inBothZones(at: string, zone?: string): string {
  const date = new Date(at);
  const show = (timeZone: string | undefined): { day: string; clock: string } => {
    const format = new Intl.DateTimeFormat("en-GB", { ...PARTS, ...(timeZone === undefined ? {} : { timeZone }) });
    const of = Object.fromEntries(format.formatToParts(date).map((one) => [one.type, one.value]));
    return { day: `${of.weekday} ${of.day} ${of.month}`, clock: `${of.hour}:${of.minute}` };
  };
  const [utc, local] = [show("UTC"), show(zone)];
  const text = `${utc.day}, ${utc.clock} UTC`;
  if (utc.day !== local.day) return `${text} · ${local.day}, ${local.clock} local`;
  return utc.clock === local.clock ? text : `${text} · ${local.clock} local`;
}
