//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-NF5QLYPA.js";import"./chunk-PO5BWYWS.js";import"./chunk-5SRFH7ZR.js";export{a as ScoreRun};
