//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-DVGEJN7L.js";import"./chunk-VVEOV6AP.js";import"./chunk-VW3LDEAR.js";export{a as ScoreRun};
