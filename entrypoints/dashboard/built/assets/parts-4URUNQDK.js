//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-PPXBBCJL.js";import"./chunk-3UEWBNQK.js";export{a as Activity,b as Invitations,c as NewProject};
