//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-STDWTP52.js";import"./chunk-SFZI4KEY.js";import"./chunk-CWDCTVNM.js";export{a as ScoreRun};
