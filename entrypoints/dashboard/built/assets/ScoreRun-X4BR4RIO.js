//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-PVJYUCQB.js";import"./chunk-UOWCV2OP.js";import"./chunk-QEANKQCN.js";export{a as ScoreRun};
