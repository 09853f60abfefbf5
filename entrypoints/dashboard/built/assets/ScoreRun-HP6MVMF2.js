//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-5Z4N6JXB.js";import"./chunk-BO4UZNLU.js";import"./chunk-HAPMC7JQ.js";export{a as ScoreRun};
