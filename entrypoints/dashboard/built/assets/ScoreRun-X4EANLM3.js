//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-SWOENLJ6.js";import"./chunk-BC7UFP4X.js";import"./chunk-GK4TKYYX.js";export{a as ScoreRun};
