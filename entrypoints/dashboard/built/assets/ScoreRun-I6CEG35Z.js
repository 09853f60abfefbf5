//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-RULPNVN7.js";import"./chunk-AR65GP5M.js";import"./chunk-7J6IPUUR.js";export{a as ScoreRun};
