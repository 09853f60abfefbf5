//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-2COCZNAI.js";import"./chunk-PUUXZDIA.js";import"./chunk-ASYRGIEU.js";export{a as ScoreRun};
