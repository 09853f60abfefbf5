//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-O4LSCA55.js";import"./chunk-BSLEUYRS.js";export{a as Activity,b as Invitations,c as NewProject};
