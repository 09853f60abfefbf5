//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-F55MDXXO.js";import"./chunk-KWOQVQOC.js";export{a as Activity,b as Invitations,c as NewProject};
