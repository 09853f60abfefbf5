//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-6AC5QEVU.js";import"./chunk-SXNABLAA.js";import"./chunk-PSDBTKJF.js";export{a as ScoreRun};
