//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-5EIYVHNR.js";import"./chunk-4AFZN37M.js";import"./chunk-7C76DCVS.js";export{a as ScoreRun};
