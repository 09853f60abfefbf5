//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-UCRZF7CF.js";import"./chunk-SMDDJZUU.js";export{a as Activity,b as Invitations,c as NewProject};
