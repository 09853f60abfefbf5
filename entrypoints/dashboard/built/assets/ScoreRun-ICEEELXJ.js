//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-KAOZR77R.js";import"./chunk-BRBZFOYM.js";import"./chunk-FDNK7SYW.js";export{a as ScoreRun};
