//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-S6YXI2C7.js";import"./chunk-3PRP6FOM.js";import"./chunk-NWXVXCGL.js";export{a as ScoreRun};
