//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-4KU2CZW7.js";import"./chunk-UTHOQOMM.js";import"./chunk-O3ANUVQS.js";export{a as ScoreRun};
