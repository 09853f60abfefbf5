//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-EKXK46TI.js";import"./chunk-X7RYVCG3.js";import"./chunk-KGNH7FZL.js";export{a as ScoreRun};
