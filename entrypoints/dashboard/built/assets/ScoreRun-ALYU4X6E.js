//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-RJTDYCOF.js";import"./chunk-IK6XHT5G.js";import"./chunk-IE4LMLRB.js";export{a as ScoreRun};
