//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-X7RYVCG3.js";import"./chunk-KGNH7FZL.js";export{a as Activity,b as Invitations,c as NewProject};
