//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-RO7EAXP5.js";import"./chunk-TY34GUEZ.js";import"./chunk-WG2QA65A.js";export{a as ScoreRun};
