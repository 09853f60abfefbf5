//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-UQY3PJB2.js";import"./chunk-AFVOX3EE.js";import"./chunk-B4VGNGG4.js";export{a as ScoreRun};
