//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-BFSUDQ35.js";import"./chunk-XXUOLHSQ.js";import"./chunk-TDLZQYSY.js";export{a as ScoreRun};
