//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-4AFZN37M.js";import"./chunk-7C76DCVS.js";export{a as Activity,b as Invitations,c as NewProject};
