/** What views of payloads use, in one file: many small ones compress worse. */
import "../api/verbatim.ts";
import "../lib/payload/chat.ts";
import "../lib/payload/json-index.ts";
