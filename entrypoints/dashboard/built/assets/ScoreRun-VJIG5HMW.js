//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-F53BNUL3.js";import"./chunk-PDHVA6XN.js";import"./chunk-WBJCXBKS.js";export{a as ScoreRun};
