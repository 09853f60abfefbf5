//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-YXSROB6M.js";import"./chunk-VWLCTGSM.js";import"./chunk-HM2BYRRD.js";export{a as ScoreRun};
