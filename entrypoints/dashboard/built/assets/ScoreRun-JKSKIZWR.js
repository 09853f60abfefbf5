//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-UEZ6Z7ZW.js";import"./chunk-BNI7B4DH.js";import"./chunk-IQCWFGDS.js";export{a as ScoreRun};
