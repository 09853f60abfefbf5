//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-E267C37A.js";import"./chunk-ZZZF6HWX.js";import"./chunk-OF3NZHHX.js";export{a as ScoreRun};
