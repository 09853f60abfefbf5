//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-UE664YMN.js";import"./chunk-3XLCC3LY.js";import"./chunk-UU67LYE6.js";export{a as ScoreRun};
