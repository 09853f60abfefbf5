//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-GDTMK5ET.js";import"./chunk-UVM2YPKE.js";import"./chunk-YHTG4UHA.js";export{a as ScoreRun};
