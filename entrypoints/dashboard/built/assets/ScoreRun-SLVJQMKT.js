//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-RLYER5PR.js";import"./chunk-4VIVRLVM.js";import"./chunk-RXIWNDA6.js";export{a as ScoreRun};
