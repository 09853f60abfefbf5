//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-5JP6TN3W.js";import"./chunk-SHVVAHBW.js";import"./chunk-MOBLM6V3.js";export{a as ScoreRun};
