//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-M2E3G6OT.js";import"./chunk-SUAPO7HT.js";import"./chunk-3PDMU75S.js";export{a as ScoreRun};
