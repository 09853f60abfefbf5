/** What elements are made with: the build puts it into each file, see build.mjs. */
export { createElement, Fragment } from "preact";
