//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-WFZZS5V4.js";import"./chunk-ZAS6CCAV.js";import"./chunk-ZRJGOLDQ.js";export{a as ScoreRun};
