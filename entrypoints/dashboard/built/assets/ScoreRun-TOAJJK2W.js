//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-G3UTRP7S.js";import"./chunk-WGKPJKOA.js";import"./chunk-4FXQYWP5.js";export{a as ScoreRun};
