//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-G3ITBG4I.js";import"./chunk-O4LSCA55.js";import"./chunk-BSLEUYRS.js";export{a as ScoreRun};
