//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-UN5OIZ7J.js";import"./chunk-F4B2MWXB.js";import"./chunk-Y3Y4VUNT.js";export{a as ScoreRun};
