//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-K3JJOHKR.js";import"./chunk-GMBEY3BY.js";import"./chunk-IUDLLNQU.js";export{a as ScoreRun};
