//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-DWIZCRAY.js";import"./chunk-I2KKOU7R.js";export{a as Activity,b as Invitations,c as NewProject};
