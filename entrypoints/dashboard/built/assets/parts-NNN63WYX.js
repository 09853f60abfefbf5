//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-PDHVA6XN.js";import"./chunk-WBJCXBKS.js";export{a as Activity,b as Invitations,c as NewProject};
