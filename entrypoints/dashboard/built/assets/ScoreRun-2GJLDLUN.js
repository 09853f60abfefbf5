//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-HRZCFXFC.js";import"./chunk-5SG3Z3EQ.js";import"./chunk-2ZR6V6YN.js";export{a as ScoreRun};
