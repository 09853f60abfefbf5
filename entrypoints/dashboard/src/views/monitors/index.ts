/** Monitors, their alerts and webhooks, in a file of their own. */
import "../parts.ts";
export { Alerts } from "./Alerts.tsx";
export { Monitor } from "./Monitor.tsx";
export { Monitors } from "./Monitors.tsx";
export { NewMonitor } from "./MonitorForm.tsx";
