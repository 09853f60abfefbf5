/** The list of traces that was shown last, so that an opened trace leads back to it and onwards. */
import { signal } from "@preact/signals";

interface ShownList {
  project: string;
  search: string; // the query of its address
  ids: readonly string[];
}

export const shownList = signal<ShownList | null>(null);
