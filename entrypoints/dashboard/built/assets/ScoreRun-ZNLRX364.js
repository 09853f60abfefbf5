//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-NYE7EVG3.js";import"./chunk-3EPK4CX2.js";import"./chunk-UBDETW3J.js";export{a as ScoreRun};
