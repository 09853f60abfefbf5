//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-IUN5Z2AI.js";import"./chunk-UCRZF7CF.js";import"./chunk-SMDDJZUU.js";export{a as ScoreRun};
