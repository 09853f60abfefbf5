//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-F4B2MWXB.js";import"./chunk-Y3Y4VUNT.js";export{a as Activity,b as Invitations,c as NewProject};
