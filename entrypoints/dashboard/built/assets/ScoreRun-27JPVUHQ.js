//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-7EEF6YMI.js";import"./chunk-4TOCZPGB.js";import"./chunk-E6MZPFQR.js";export{a as ScoreRun};
