//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-KSNBV4TG.js";import"./chunk-NKMGMUZ4.js";import"./chunk-FFBRMQM6.js";export{a as ScoreRun};
