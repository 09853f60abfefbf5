//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-YBR3NBSV.js";import"./chunk-5NW6J3BC.js";import"./chunk-VFANSMDX.js";export{a as ScoreRun};
