//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-4XFQSHCW.js";import"./chunk-ZXXPL5WC.js";import"./chunk-2VOR5QIW.js";export{a as ScoreRun};
