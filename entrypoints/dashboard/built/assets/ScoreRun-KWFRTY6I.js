//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-WC44XXNJ.js";import"./chunk-GGQHAF2M.js";import"./chunk-5BJ4WIIG.js";export{a as ScoreRun};
