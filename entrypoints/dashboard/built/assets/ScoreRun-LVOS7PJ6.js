//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-SA7APRAX.js";import"./chunk-S3XOHQEE.js";import"./chunk-DUJMGW6Y.js";export{a as ScoreRun};
