//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-LHS6LVLZ.js";import"./chunk-NMVZGDJZ.js";import"./chunk-AHXCZJGI.js";export{a as ScoreRun};
