//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-GCTUIADS.js";import"./chunk-STXJAZFU.js";import"./chunk-NGMBCHHY.js";export{a as ScoreRun};
