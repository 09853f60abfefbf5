//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-Q7XRQ5OX.js";import"./chunk-CQXTQ2XV.js";export{a as Activity,b as Invitations,c as NewProject};
