//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-PJSOZ7J7.js";import"./chunk-F4VHKM4F.js";import"./chunk-S5PZW5GP.js";export{a as ScoreRun};
