//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-XZV46NKW.js";import"./chunk-PHRONMFX.js";import"./chunk-2WQA3BEE.js";export{a as ScoreRun};
