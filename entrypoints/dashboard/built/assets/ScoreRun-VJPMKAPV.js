//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-2SLKVVW2.js";import"./chunk-EDGXEFNC.js";import"./chunk-YBMVYSOS.js";export{a as ScoreRun};
