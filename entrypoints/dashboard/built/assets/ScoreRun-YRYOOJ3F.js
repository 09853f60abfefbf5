//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-KBD27KW6.js";import"./chunk-GEGW3PBN.js";import"./chunk-5GDQNQII.js";export{a as ScoreRun};
