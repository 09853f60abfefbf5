//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-NHBYR22B.js";import"./chunk-ZSLU47BZ.js";import"./chunk-MDZO2IS6.js";export{a as ScoreRun};
