//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-DHSWAWDH.js";import"./chunk-GZQ6Z6MZ.js";import"./chunk-NGQKA2LY.js";export{a as ScoreRun};
