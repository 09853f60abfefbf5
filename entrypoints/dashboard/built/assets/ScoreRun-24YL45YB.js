//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-7TQVPSVR.js";import"./chunk-2WLFRUME.js";import"./chunk-VJMD7M7P.js";export{a as ScoreRun};
