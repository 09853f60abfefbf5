//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-AR65GP5M.js";import"./chunk-7J6IPUUR.js";export{a as Activity,b as Invitations,c as NewProject};
