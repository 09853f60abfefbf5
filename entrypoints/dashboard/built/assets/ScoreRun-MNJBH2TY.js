//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-73XKGPT3.js";import"./chunk-YKXF4Y42.js";import"./chunk-JDJRD3IH.js";export{a as ScoreRun};
