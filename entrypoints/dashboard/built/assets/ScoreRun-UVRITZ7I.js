//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-QB5RIX3M.js";import"./chunk-IPIYC53G.js";import"./chunk-WPJIXKYV.js";export{a as ScoreRun};
