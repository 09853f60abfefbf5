//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-GGQHAF2M.js";import"./chunk-5BJ4WIIG.js";export{a as Activity,b as Invitations,c as NewProject};
