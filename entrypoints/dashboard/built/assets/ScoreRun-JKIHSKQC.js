//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-4P34WJYY.js";import"./chunk-US5JB6U4.js";import"./chunk-BSZOJ2NW.js";export{a as ScoreRun};
