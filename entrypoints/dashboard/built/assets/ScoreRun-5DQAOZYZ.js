//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-TCXFTBBW.js";import"./chunk-OYTUNAOZ.js";import"./chunk-HPRLC6L6.js";export{a as ScoreRun};
