//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-4OX3NYSZ.js";import"./chunk-URSVEEJ4.js";import"./chunk-YPB62T2Z.js";export{a as ScoreRun};
