/** Monitors, their alerts and webhooks, in a file of their own. */
import "../../app.tsx"; // is loaded already; see main.tsx
export { Alerts } from "./Alerts.tsx";
export { Monitor } from "./Monitor.tsx";
export { Monitors } from "./Monitors.tsx";
export { NewMonitor } from "./MonitorForm.tsx";
