//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-UOWCV2OP.js";import"./chunk-QEANKQCN.js";export{a as Activity,b as Invitations,c as NewProject};
