//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-MOTWB6SW.js";import"./chunk-WAIECLGP.js";import"./chunk-AKLPCEZD.js";export{a as ScoreRun};
