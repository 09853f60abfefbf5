//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-I5K2IS3Y.js";import"./chunk-F55MDXXO.js";import"./chunk-KWOQVQOC.js";export{a as ScoreRun};
