//# allFunctionsCalledOnLoad
import{n as a}from"./chunk-ZAPPWZRH.js";import"./chunk-DWIZCRAY.js";import"./chunk-I2KKOU7R.js";export{a as ScoreRun};
