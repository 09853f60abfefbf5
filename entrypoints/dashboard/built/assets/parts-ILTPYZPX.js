//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-BNI7B4DH.js";import"./chunk-IQCWFGDS.js";export{a as Activity,b as Invitations,c as NewProject};
