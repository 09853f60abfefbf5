//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-UQAHCYWB.js";import"./chunk-PPXBBCJL.js";import"./chunk-3UEWBNQK.js";export{a as ScoreRun};
