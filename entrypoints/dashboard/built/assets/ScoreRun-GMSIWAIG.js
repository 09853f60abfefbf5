//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-6BNV3WLC.js";import"./chunk-C3DH7NXW.js";import"./chunk-JMVSK4EX.js";export{a as ScoreRun};
