//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-5NW6J3BC.js";import"./chunk-VFANSMDX.js";export{a as Activity,b as Invitations,c as NewProject};
