//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-X4R6BCL4.js";import"./chunk-5GUNLLGW.js";import"./chunk-TJPVPAX2.js";export{a as ScoreRun};
