//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-EEFFCZNB.js";import"./chunk-B4AJHNAN.js";import"./chunk-56LLG4KY.js";export{a as ScoreRun};
