//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-QVJBOJJ5.js";import"./chunk-L63VEUCB.js";import"./chunk-L5FYN2EM.js";export{a as ScoreRun};
