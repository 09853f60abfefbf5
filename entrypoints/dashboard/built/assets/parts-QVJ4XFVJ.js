//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-PHRONMFX.js";import"./chunk-2WQA3BEE.js";export{a as Activity,b as Invitations,c as NewProject};
