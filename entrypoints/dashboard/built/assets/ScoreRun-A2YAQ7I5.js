//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-PKIAOTRU.js";import"./chunk-VEOFOZRN.js";import"./chunk-BUALJPZF.js";export{a as ScoreRun};
