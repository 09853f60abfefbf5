/** The path below which all pages are. */
import { ROOT } from "../api/client.ts";

export const BASE = `${ROOT.pathname.replace(/\/$/, "")}/app`;
