//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-IWETDZLC.js";import"./chunk-I32Z3ERU.js";export{a as Activity,b as Invitations,c as NewProject};
