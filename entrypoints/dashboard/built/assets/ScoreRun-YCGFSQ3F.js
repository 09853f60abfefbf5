//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-ZXLSUH7H.js";import"./chunk-PRYA2D4H.js";import"./chunk-AOBK775P.js";export{a as ScoreRun};
