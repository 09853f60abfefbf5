//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-FE54JTOG.js";import"./chunk-IWETDZLC.js";import"./chunk-I32Z3ERU.js";export{a as ScoreRun};
