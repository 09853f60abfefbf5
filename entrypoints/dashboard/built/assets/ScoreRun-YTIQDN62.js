//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-PSUGJSCB.js";import"./chunk-Q7XRQ5OX.js";import"./chunk-CQXTQ2XV.js";export{a as ScoreRun};
