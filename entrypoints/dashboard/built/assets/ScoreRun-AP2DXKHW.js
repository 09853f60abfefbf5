//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-2WYL47LT.js";import"./chunk-KWPRS36G.js";import"./chunk-CYEKB2V7.js";export{a as ScoreRun};
